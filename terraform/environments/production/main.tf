# Production keeps its data against mistakes, answers its first caller without a cold start, and tells someone when it ails.

provider "google" {
  project = var.project_id
  region  = var.region
}

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_monitoring_notification_channel" "emails" {
  for_each = var.alert_emails

  project      = var.project_id
  display_name = "Earwitness: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

module "earwitness" {
  source = "../../modules/pipeline"

  project          = { id = var.project_id, number = data.google_project.this.number }
  region           = var.region
  labels           = { app = "earwitness", environment = "production" }
  bundles_dir      = var.bundles_dir
  modal_token      = var.modal_token
  report_keys      = var.report_keys
  secrets_version  = var.secrets_version
  existing_secrets = var.existing_secrets
  kms_key_name     = var.kms_key_name

  buckets = { soft_delete_days = 30 }

  firestore = {
    delete_protection      = true
    point_in_time_recovery = true
  }

  # What people and GPU jobs wait for is warm; the rest starts when there is work.
  functions = {
    api       = { min_instances = 1 }
    on_report = { min_instances = 1 }
  }

  api = { custom_domain = var.custom_domain }

  alerts = {
    notification_channels = [for channel in google_monitoring_notification_channel.emails : channel.id]
    budget                = var.budget
  }

  modal = { environment = "production" }
}
