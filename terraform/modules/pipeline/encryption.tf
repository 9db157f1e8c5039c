# With a key of one's own, Google's service agents encrypt and decrypt with it. They are Google's accounts, one a service and
# project, and exist from the service's first use on, or from `gcloud beta services identity create`. Those of Cloud Storage
# and Pub/Sub are granted its use in their own modules.

locals {
  agents_of_key = {
    artifact_registry = "service-${var.project.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    eventarc          = "service-${var.project.number}@gcp-sa-eventarc.iam.gserviceaccount.com"
    firestore         = "service-${var.project.number}@gcp-sa-firestore.iam.gserviceaccount.com"
    functions         = "service-${var.project.number}@gcf-admin-robot.iam.gserviceaccount.com"
    run               = "service-${var.project.number}@serverless-robot-prod.iam.gserviceaccount.com"
    secrets           = "service-${var.project.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
  }

  # The same key, known only when it may be used: what takes it waits for the grants.
  kms_key_name = var.kms_key_name == null ? null : one(distinct([for grant in google_kms_crypto_key_iam_member.agents : grant.crypto_key_id]))

  # Bundles lie in a bucket, and Cloud Storage's agent may use the key once the other buckets are there.
  functions_kms_key_name = one([for bucket in [module.storage.results.name] : local.kms_key_name])
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = var.kms_key_name == null ? {} : local.agents_of_key

  crypto_key_id = var.kms_key_name
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"

  # Who applies may belong to this project, whose API of Cloud KMS is on only then.
  depends_on = [google_project_service.apis]
}
