# Staging is thrown away and made again: nothing guards its data, nothing runs while nobody uses it, and nobody is woken.

provider "google" {
  project = var.project_id
  region  = var.region
}

data "google_project" "this" {
  project_id = var.project_id
}

module "earwitness" {
  source = "../../modules/pipeline"

  project          = { id = var.project_id, number = data.google_project.this.number }
  region           = var.region
  labels           = { app = "earwitness", environment = "staging" }
  bundles_dir      = var.bundles_dir
  modal_token      = var.modal_token
  report_keys      = var.report_keys
  secrets_version  = var.secrets_version
  existing_secrets = var.existing_secrets

  settings = { EARWITNESS_RETENTION_DAYS = "7" }

  buckets = {
    soft_delete_days    = 0
    uploads_expire_days = 8
    results_expire_days = 8
    force_destroy       = true
  }

  firestore = {
    delete_protection      = false
    point_in_time_recovery = false
  }

  alerts = { enabled = false }
  modal  = { environment = "staging" }
}
