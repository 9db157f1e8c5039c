# What a deployment is made of. The parts feed each other both ways (topics need the functions' addresses, functions the
# topics' names), and no part waits for another as a whole: Terraform orders the resources.

locals {
  # Belongs to the version of this module, as the bundles do; `python -m infra.contracts` writes it from the code.
  contract = jsondecode(file("${path.module}/contract.tfvars.json")).contract

  # The same id, known only when the APIs are on: what takes it waits for them.
  project_id = var.enable_apis ? one(distinct([for api in google_project_service.apis : api.project])) : var.project.id

  api_is_public = coalesce(var.api.is_public, var.api.access == "keys")
}

module "storage" {
  source = "../storage"

  project_id          = local.project_id
  project_number      = var.project.number
  location            = coalesce(var.buckets.location, var.region)
  uploads_name        = coalesce(var.buckets.uploads_name, "${var.project.id}-${var.name_prefix}-uploads")
  results_name        = coalesce(var.buckets.results_name, "${var.project.id}-${var.name_prefix}-results")
  labels              = var.labels
  kms_key_name        = local.kms_key_name
  cors                = [for row in local.contract.cors : merge(row, var.buckets.cors_origins == null ? {} : { origin = var.buckets.cors_origins })]
  soft_delete_days    = var.buckets.soft_delete_days
  uploads_expire_days = var.buckets.uploads_expire_days
  results_expire_days = var.buckets.results_expire_days
  results_retention   = var.buckets.results_retention
  access_log_bucket   = var.buckets.access_log_bucket
  force_destroy       = var.buckets.force_destroy
}

module "status" {
  source = "../status"

  project_id             = local.project_id
  location               = coalesce(var.firestore.location, var.region)
  database               = var.firestore.database
  create_database        = var.firestore.create
  indexes                = local.contract.firestore.indexes
  ttl_fields             = local.contract.firestore.ttl_fields
  exempt_fields          = local.contract.firestore.exempt_fields
  rules                  = var.firestore.deploy_rules ? local.contract.firestore.rules : null
  delete_protection      = var.firestore.delete_protection
  point_in_time_recovery = var.firestore.point_in_time_recovery
  kms_key_name           = local.kms_key_name
}

module "events" {
  source = "../events"

  project_id           = local.project_id
  project_number       = var.project.number
  region               = var.region
  name_prefix          = var.name_prefix
  labels               = var.labels
  kms_key_name         = local.kms_key_name
  schema               = local.contract.events_schema
  push_service_account = local.callers.pushes
  subscriptions = {
    for name, row in local.contract.subscriptions : name => merge(row, { push_endpoint = module.functions.urls[row.function] })
  }
}

module "gpu" {
  source = "../gpu"

  project_id       = local.project_id
  name_prefix      = var.name_prefix
  labels           = var.labels
  kms_key_name     = local.kms_key_name
  modal_token      = var.modal_token
  report_keys      = var.report_keys
  values_version   = var.secrets_version
  existing_secrets = var.existing_secrets
  deploy = merge(var.modal.deploy, {
    environment = merge(var.modal.deploy.environment, var.modal.environment == null ? {} : { EARWITNESS_MODAL_ENVIRONMENT = var.modal.environment })
  })
  accessors = {
    for secret in ["report_keys", "modal_token_id", "modal_token_secret"] : secret => {
      for name, row in local.contract.functions : name => local.members[name] if contains(row.secrets, secret)
    }
  }
}

module "functions" {
  source = "../functions"

  project_id                    = local.project_id
  project_number                = var.project.number
  region                        = var.region
  name_prefix                   = var.name_prefix
  labels                        = var.labels
  bundles_dir                   = var.bundles_dir
  functions                     = local.functions
  service_accounts              = local.accounts
  settings                      = local.settings
  secrets                       = module.gpu.secrets
  public_url                    = var.api.custom_domain == null ? null : "https://${var.api.custom_domain}"
  uploads_bucket                = module.storage.uploads.name
  uploads_location              = var.buckets.location
  upload_events_service_account = trimprefix(google_project_iam_member.uploads_receives.member, "serviceAccount:")
  network                       = var.network
  kms_key_name                  = local.functions_kms_key_name
  public_functions              = local.public_functions
  invokers                      = local.invokers
}

module "domain" {
  source = "../domain"
  count  = var.api.custom_domain == null ? 0 : 1

  project_id      = local.project_id
  region          = var.region
  name_prefix     = var.name_prefix
  labels          = var.labels
  domain          = var.api.custom_domain
  service_name    = module.functions.names["api"]
  security_policy = var.api.security_policy
}

module "observability" {
  source = "../observability"
  count  = var.alerts.enabled ? 1 : 0

  project_id                = local.project_id
  project_number            = var.project.number
  name_prefix               = var.name_prefix
  labels                    = var.labels
  function_services         = module.functions.names
  subscriptions             = [for name in keys(local.contract.subscriptions) : "${var.name_prefix}-${name}"]
  dead_letters_subscription = module.events.dead_letters_subscription
  notification_channels     = var.alerts.notification_channels
  thresholds                = var.alerts.thresholds
  budget                    = var.alerts.budget
  dashboard                 = var.alerts.dashboard
}
