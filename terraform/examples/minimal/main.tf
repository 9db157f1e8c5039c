provider "google" {
  project = var.project_id
  region  = var.region
}

data "google_project" "this" {
  project_id = var.project_id
}

module "earwitness" {
  source = "../../modules/pipeline"

  project     = { id = var.project_id, number = data.google_project.this.number }
  region      = var.region
  bundles_dir = var.bundles_dir
  modal_token = var.modal_token
  report_keys = var.report_keys
}
