# What no function would take, kept where `earwitness dead-letters` finds it.
resource "google_pubsub_topic" "dead_letters" {
  #checkov:skip=CKV_GCP_83:the key is the caller's choice: kms_key_name
  project      = var.project_id
  name         = "${var.name_prefix}-dead-letters"
  labels       = var.labels
  kms_key_name = var.kms_key_name

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.pubsub_agent]
}

resource "google_pubsub_subscription" "dead_letters" {
  project                    = var.project_id
  name                       = "${var.name_prefix}-dead-letters"
  topic                      = local.dead_letters_topic
  labels                     = var.labels
  message_retention_duration = var.dead_letter_retention

  # Never: nobody reads it for months, and then it must be there.
  expiration_policy {
    ttl = ""
  }
}
