# The project's APIs. They stay on when the deployment goes: others in the project may use them.

locals {
  apis = setunion(
    [
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudfunctions.googleapis.com",
      "cloudscheduler.googleapis.com",
      "eventarc.googleapis.com",
      "firebaserules.googleapis.com",
      "firestore.googleapis.com",
      "iam.googleapis.com",
      "iamcredentials.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "storage.googleapis.com",
    ],
    var.api.custom_domain == null ? [] : ["compute.googleapis.com"],
    var.network.vpc_connector == null ? [] : ["vpcaccess.googleapis.com"],
    var.kms_key_name == null ? [] : ["cloudkms.googleapis.com"],
    var.alerts.budget == null ? [] : ["billingbudgets.googleapis.com"],
  )
}

resource "google_project_service" "apis" {
  for_each = var.enable_apis ? local.apis : []

  project            = var.project.id
  service            = each.value
  disable_on_destroy = false
}
