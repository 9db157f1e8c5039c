locals {
  # Whether a value was given is no secret; the value is.
  made = toset(concat(
    nonsensitive(var.report_keys != null) ? ["report_keys"] : [],
    nonsensitive(var.modal_token != null) ? ["modal_token_id", "modal_token_secret"] : [],
  ))
  values = {
    report_keys        = var.report_keys == null ? null : join(",", var.report_keys)
    modal_token_id     = var.modal_token == null ? null : trimspace(var.modal_token.id)
    modal_token_secret = var.modal_token == null ? null : trimspace(var.modal_token.secret)
  }

  # A regional key encrypts replicas in its own region and nowhere else; a global one encrypts those that Google places.
  key_location = var.kms_key_name == null ? "global" : split("/", var.kms_key_name)[3]

  secrets = merge(
    { for name in local.made : name => {
      secret_id  = google_secret_manager_secret.made[name].secret_id
      version    = google_secret_manager_secret_version.made[name].version
      project_id = var.project_id
    } },
    { for name, secret in var.existing_secrets : name => {
      secret_id  = secret.secret_id
      version    = secret.version
      project_id = coalesce(secret.project_id, var.project_id)
    } },
  )
}

resource "google_secret_manager_secret" "made" {
  for_each = local.made

  project   = var.project_id
  secret_id = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  labels    = var.labels

  replication {
    dynamic "auto" {
      for_each = local.key_location == "global" ? ["anywhere"] : []
      content {
        dynamic "customer_managed_encryption" {
          for_each = var.kms_key_name == null ? [] : [var.kms_key_name]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }

    dynamic "user_managed" {
      for_each = local.key_location == "global" ? [] : [local.key_location]
      content {
        replicas {
          location = user_managed.value
          customer_managed_encryption {
            kms_key_name = var.kms_key_name
          }
        }
      }
    }
  }
}

resource "google_secret_manager_secret_version" "made" {
  for_each = local.made

  secret = google_secret_manager_secret.made[each.key].id
  # Written and not kept: neither the plan nor the state has it.
  secret_data_wo         = local.values[each.key]
  secret_data_wo_version = var.values_version
  # A version that was replaced can be enabled again.
  deletion_policy = "DISABLE"

  lifecycle {
    # Functions name a version: the one before goes once none of them does.
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "accessor" {
  for_each = merge([for name, members in var.accessors : {
    for function, member in members : "${name}/${function}" => { secret = name, member = member }
  }]...)

  project = contains(local.made, each.value.secret) ? var.project_id : coalesce(var.existing_secrets[each.value.secret].project_id, var.project_id)
  # The made one is asked for its id, so that it is there first.
  secret_id = contains(local.made, each.value.secret) ? google_secret_manager_secret.made[each.value.secret].secret_id : var.existing_secrets[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}
