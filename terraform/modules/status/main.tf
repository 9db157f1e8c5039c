resource "google_firestore_database" "main" {
  count = var.create_database ? 1 : 0

  project     = var.project_id
  name        = var.database
  location_id = var.location
  type        = "FIRESTORE_NATIVE"

  # Without this a destroy would say that all is well and leave the database where it is.
  deletion_policy                   = "DELETE"
  delete_protection_state           = var.delete_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"

  dynamic "cmek_config" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = cmek_config.value
    }
  }
}

locals {
  # Known when the database is there, so that what follows is made after it.
  database = var.create_database ? one(google_firestore_database.main[*].name) : var.database
}
