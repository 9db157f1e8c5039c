# Where bundles lie for Google to build from.
resource "google_storage_bucket" "sources" {
  #checkov:skip=CKV_GCP_62:It holds code that is in the release as well; Cloud Audit Logs can tell who read it.
  #checkov:skip=CKV_GCP_78:An object is named by its content and never written again.
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name_prefix}-functions"
  location                    = var.region
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  # Bundles are made again from the same sources, byte by byte.
  force_destroy = true

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }
}

resource "google_storage_bucket_object" "source" {
  for_each = var.functions

  bucket       = google_storage_bucket.sources.name
  name         = "${each.key}-${substr(filesha256("${var.bundles_dir}/${each.key}.zip"), 0, 16)}.zip"
  source       = "${var.bundles_dir}/${each.key}.zip"
  content_type = "application/zip"

  lifecycle {
    # The new one is there before the function asks for it, the old one until no function does.
    create_before_destroy = true
    # The name says what is in it: another folder, or the hash that Google answers with, is no other bundle.
    ignore_changes = [source, detect_md5hash]
  }
}
