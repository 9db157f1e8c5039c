# Cloud Storage acts for the project as a service account of its own, its service agent.
locals {
  storage_agent = "serviceAccount:service-${var.project_number}@gs-project-accounts.iam.gserviceaccount.com"
}

# A project that never used its agent has none yet, and a grant to an account that does not exist is refused. Asking for
# the agent makes Google create it; that happens when applying, since this waits for something that is made then.
resource "terraform_data" "storage_agent" {
  input = var.project_id
}

data "google_storage_project_service_account" "this" {
  project = var.project_id

  depends_on = [terraform_data.storage_agent]
}

# Eventarc tells on_upload of new objects through a topic that it makes itself, under a name of its own choice, and the
# agent publishes there. So there is no topic to grant this on, and IAM has no conditions on the names of topics.
resource "google_project_iam_member" "storage_agent_publishes" {
  project = var.project_id
  role    = "roles/pubsub.publisher"
  member  = local.storage_agent

  depends_on = [data.google_storage_project_service_account.this]
}

resource "google_kms_crypto_key_iam_member" "storage_agent" {
  count = var.kms_key_name == null ? 0 : 1

  crypto_key_id = var.kms_key_name
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.storage_agent

  depends_on = [data.google_storage_project_service_account.this]
}
