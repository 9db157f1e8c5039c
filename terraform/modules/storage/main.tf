# Both buckets are guarded alike. What differs between them stands here.
locals {
  buckets = {
    uploads = {
      name        = var.uploads_name
      cors        = var.cors
      expire_days = var.uploads_expire_days
      retention   = null
    }
    results = {
      name        = var.results_name
      cors        = []
      expire_days = var.results_expire_days
      retention   = var.results_retention
    }
  }

  day_s = 24 * 60 * 60
}

resource "google_storage_bucket" "main" {
  #checkov:skip=CKV_GCP_62:usage logs are the caller's choice: access_log_bucket
  #checkov:skip=CKV_GCP_78:soft delete brings back what was deleted or replaced; versions would keep for ever what a tenant has deleted
  for_each = local.buckets

  project                     = var.project_id
  name                        = each.value.name
  location                    = var.location
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * local.day_s
  }

  # Parts of an upload that was never completed cost like objects and are listed nowhere. No upload URL lives longer.
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.expire_days == null ? [] : [each.value.expire_days]

    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  dynamic "cors" {
    for_each = each.value.cors

    content {
      origin          = cors.value.origin
      method          = cors.value.method
      response_header = cors.value.response_header
      max_age_seconds = cors.value.max_age_seconds
    }
  }

  dynamic "retention_policy" {
    for_each = each.value.retention == null ? [] : [each.value.retention]

    content {
      retention_period = retention_policy.value.days * local.day_s
      is_locked        = retention_policy.value.locked
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      default_kms_key_name = encryption.value
    }
  }

  dynamic "logging" {
    for_each = var.access_log_bucket == null ? [] : [var.access_log_bucket]

    content {
      log_bucket        = logging.value
      log_object_prefix = each.value.name
    }
  }

  # Cloud Storage refuses a key that its agent cannot use.
  depends_on = [google_kms_crypto_key_iam_member.storage_agent]
}
