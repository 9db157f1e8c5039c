locals {
  # A key that says what the index is: it stays the same when others come and go.
  indexes = {
    for index in var.indexes :
    "${index.collection}: ${join(", ", [for field in index.fields : "${field.field_path} ${coalesce(field.order, field.array_config)}"])}" => index
  }

  # What has a time to live is often not to be indexed, either: Google takes both as one configuration of the field.
  ttl_fields    = [for row in var.ttl_fields : "${row.collection}.${row.field}"]
  exempt_fields = [for row in var.exempt_fields : "${row.collection}.${row.field}"]
  fields        = { for row in distinct(concat(var.ttl_fields, var.exempt_fields)) : "${row.collection}.${row.field}" => row }
}

# Google adds the document's name to each, in the direction of the last field.
resource "google_firestore_index" "main" {
  for_each = local.indexes

  project     = var.project_id
  database    = local.database
  collection  = each.value.collection
  query_scope = "COLLECTION"

  dynamic "fields" {
    for_each = each.value.fields

    content {
      field_path   = fields.value.field_path
      order        = fields.value.order
      array_config = fields.value.array_config
    }
  }

  # Google goes on building when the provider's own 20 minutes are over, and the next apply would be told that it exists.
  timeouts {
    create = "5h"
  }

  # The old one goes once no function asks for it.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_firestore_field" "main" {
  for_each = local.fields

  project    = var.project_id
  database   = local.database
  collection = each.value.collection
  field      = each.value.field

  # Empty, it takes the field out of all indexes of its own; left out, it leaves them as they are.
  dynamic "index_config" {
    for_each = contains(local.exempt_fields, each.key) ? [true] : []

    content {}
  }

  # Google deletes a document within a day after the time that this field holds.
  dynamic "ttl_config" {
    for_each = contains(local.ttl_fields, each.key) ? [true] : []

    content {}
  }
}
