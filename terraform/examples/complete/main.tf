provider "google" {
  project = var.project_id
  region  = var.region
}

data "google_project" "this" {
  project_id = var.project_id
}

resource "google_monitoring_notification_channel" "oncall" {
  project      = var.project_id
  display_name = "Earwitness on call"
  type         = "email"
  labels       = { email_address = var.oncall_email }
}

module "earwitness" {
  source = "../../modules/pipeline"

  project         = { id = var.project_id, number = data.google_project.this.number }
  region          = var.region
  name_prefix     = "speech"
  labels          = { app = "earwitness", team = "media" }
  bundles_dir     = var.bundles_dir
  modal_token     = var.modal_token
  report_keys     = var.report_keys
  secrets_version = var.secrets_version
  kms_key_name    = var.kms_key_name

  settings = {
    EARWITNESS_RETENTION_DAYS      = "30"
    EARWITNESS_REQUESTS_PER_MINUTE = "120"
    EARWITNESS_CORS_ORIGINS        = "https://app.${var.domain}"
  }

  # Recordings that are in a bucket already: jobs of the tenant `newsroom` may name them.
  source_buckets = { newsroom = [var.archive_bucket] }

  buckets = {
    cors_origins        = ["https://app.${var.domain}"]
    soft_delete_days    = 14
    uploads_expire_days = 30
    results_expire_days = 365
    access_log_bucket   = var.access_log_bucket
  }

  firestore = { database = "speech" }

  functions = {
    api       = { min_instances = 1, max_instances = 20 }
    on_upload = { memory = "4Gi", cpu = "2" }
  }

  network = {
    vpc_connector           = var.vpc_connector
    egress_settings         = "ALL_TRAFFIC"
    public_ingress_settings = "ALLOW_INTERNAL_AND_GCLB"
  }

  api = { custom_domain = "speech.${var.domain}" }

  alerts = {
    notification_channels = [google_monitoring_notification_channel.oncall.id]
    budget                = { billing_account = var.billing_account, amount = 500 }
  }

  modal = { environment = "production" }
}
