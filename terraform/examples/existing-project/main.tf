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

  # Someone else turns the project's APIs on.
  enable_apis = false

  # The project's database is there, and so are the rules of another application, which are left alone.
  firestore = {
    database     = var.database
    create       = false
    deploy_rules = false
  }

  # The values are put into Secret Manager by other means: Terraform never sees them.
  existing_secrets = var.existing_secrets

  # Callers have signed in at the platform: IAM lets these through, and the API asks for no key.
  api = {
    access  = "platform"
    callers = var.api_callers
  }
}
