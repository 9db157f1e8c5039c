# Topics. Paths of what is made here are put together from names, so that they are known before it is made.
locals {
  topics = {
    events     = "projects/${var.project_id}/topics/${google_pubsub_topic.events.name}"
    deliveries = "projects/${var.project_id}/topics/${google_pubsub_topic.deliveries.name}"
  }
  dead_letters_topic = "projects/${var.project_id}/topics/${google_pubsub_topic.dead_letters.name}"
  schema             = one([for schema in google_pubsub_schema.events : "projects/${var.project_id}/schemas/${schema.name}"])
}

resource "google_pubsub_schema" "events" {
  count = var.schema == null ? 0 : 1

  project    = var.project_id
  name       = "${var.name_prefix}-events"
  type       = var.schema.type
  definition = var.schema.definition
}

resource "google_pubsub_topic" "events" {
  #checkov:skip=CKV_GCP_83:the key is the caller's choice: kms_key_name
  project                    = var.project_id
  name                       = "${var.name_prefix}-events"
  labels                     = var.labels
  kms_key_name               = var.kms_key_name
  message_retention_duration = var.message_retention

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  dynamic "schema_settings" {
    for_each = local.schema == null ? [] : [local.schema]

    content {
      schema   = schema_settings.value
      encoding = "JSON"
    }
  }

  # Pub/Sub refuses a key that its agent cannot use.
  depends_on = [google_kms_crypto_key_iam_member.pubsub_agent]
}

resource "google_pubsub_topic" "deliveries" {
  #checkov:skip=CKV_GCP_83:the key is the caller's choice: kms_key_name
  project      = var.project_id
  name         = "${var.name_prefix}-deliveries"
  labels       = var.labels
  kms_key_name = var.kms_key_name

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.pubsub_agent]
}
