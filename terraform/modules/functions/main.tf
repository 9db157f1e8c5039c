locals {
  report_function = "on_report"
  api_function    = "api"

  names   = { for name in keys(var.functions) : name => "${var.name_prefix}-${replace(name, "_", "-")}" }
  public  = { for name, function in var.functions : name => function if function.trigger == "public_http" }
  private = { for name, function in var.functions : name => function if function.trigger != "public_http" }

  secret_variables = {
    report_keys        = "EARWITNESS_REPORT_KEYS"
    modal_token_id     = "MODAL_TOKEN_ID"
    modal_token_secret = "MODAL_TOKEN_SECRET"
  }
  # By the name of the variable, so that the order of a list never makes a difference.
  secrets = { for name, function in var.functions : name => {
    for secret in function.secrets : local.secret_variables[secret] => var.secrets[secret]
  } }

  egress_settings = var.network.vpc_connector == null ? null : var.network.egress_settings
}

# Public functions first: where on_report answers is a setting of functions in the resource after it.
resource "google_cloudfunctions2_function" "public" {
  #checkov:skip=CKV_GCP_124:These functions are called from the internet and check their callers themselves, by API keys or tokens of one attempt.
  for_each = local.public

  project      = var.project_id
  location     = var.region
  name         = local.names[each.key]
  labels       = var.labels
  kms_key_name = var.kms_key_name

  build_config {
    runtime           = each.value.runtime
    entry_point       = each.value.entry_point
    service_account   = google_service_account.build.name
    docker_repository = google_artifact_registry_repository.images.id

    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.source[each.key].name
      }
    }
  }

  service_config {
    service_account_email            = var.service_accounts[each.key]
    available_memory                 = each.value.memory
    available_cpu                    = each.value.cpu
    timeout_seconds                  = each.value.timeout_s
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = each.value.min_instances
    max_instance_count               = each.value.max_instances == 0 ? null : each.value.max_instances
    all_traffic_on_latest_revision   = true
    ingress_settings                 = each.key == local.report_function ? "ALLOW_ALL" : var.network.public_ingress_settings
    vpc_connector                    = var.network.vpc_connector
    vpc_connector_egress_settings    = local.egress_settings

    environment_variables = merge(
      var.settings,
      each.key == local.api_function && var.public_url != null ? { EARWITNESS_PUBLIC_URL = var.public_url } : {},
    )

    dynamic "secret_environment_variables" {
      for_each = local.secrets[each.key]
      content {
        key        = secret_environment_variables.key
        project_id = secret_environment_variables.value.project_id
        secret     = secret_environment_variables.value.secret_id
        version    = secret_environment_variables.value.version
      }
    }
  }

  # A build that may not read, write or log fails at once.
  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_copies,
    google_storage_bucket_iam_member.build,
  ]
}

resource "google_cloudfunctions2_function" "private" {
  #checkov:skip=CKV_GCP_124:ALLOW_INTERNAL_ONLY unless network says otherwise, which a scan cannot follow.
  for_each = local.private

  project      = var.project_id
  location     = var.region
  name         = local.names[each.key]
  labels       = var.labels
  kms_key_name = var.kms_key_name

  build_config {
    runtime           = each.value.runtime
    entry_point       = each.value.entry_point
    service_account   = google_service_account.build.name
    docker_repository = google_artifact_registry_repository.images.id

    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.source[each.key].name
      }
    }
  }

  service_config {
    service_account_email            = var.service_accounts[each.key]
    available_memory                 = each.value.memory
    available_cpu                    = each.value.cpu
    timeout_seconds                  = each.value.timeout_s
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = each.value.min_instances
    max_instance_count               = each.value.max_instances == 0 ? null : each.value.max_instances
    all_traffic_on_latest_revision   = true
    ingress_settings                 = var.network.ingress_settings
    vpc_connector                    = var.network.vpc_connector
    vpc_connector_egress_settings    = local.egress_settings

    environment_variables = merge(
      var.settings,
      each.value.needs_report_url ? {
        EARWITNESS_REPORT_URL = google_cloudfunctions2_function.public[local.report_function].service_config[0].uri
      } : {},
    )

    dynamic "secret_environment_variables" {
      for_each = local.secrets[each.key]
      content {
        key        = secret_environment_variables.key
        project_id = secret_environment_variables.value.project_id
        secret     = secret_environment_variables.value.secret_id
        version    = secret_environment_variables.value.version
      }
    }
  }

  dynamic "event_trigger" {
    for_each = each.value.trigger == "finalize" ? [var.uploads_bucket] : []
    content {
      event_type            = "google.cloud.storage.object.v1.finalized"
      trigger_region        = lower(coalesce(var.uploads_location, var.region))
      service_account_email = var.upload_events_service_account
      # Without it an upload that the function could not take is forgotten.
      retry_policy = "RETRY_POLICY_RETRY"

      event_filters {
        attribute = "bucket"
        value     = event_trigger.value
      }
    }
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_logs,
    google_project_iam_member.build_copies,
    google_storage_bucket_iam_member.build,
  ]
}
