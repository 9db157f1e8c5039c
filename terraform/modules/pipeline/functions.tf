# What each function is told: this version's figures, with what the deployment changes of them, and its settings.

locals {
  functions = {
    for name, row in local.contract.functions : name => merge(
      row,
      { min_instances = 0 },
      { for figure, value in try(var.functions[name], {}) : figure => value if value != null },
    )
  }

  # Settings that follow from what is made here, and which variable says so.
  settings_from = {
    EARWITNESS_API_ACCESS                = "see api.access"
    EARWITNESS_AUDIENCE                  = "see api.access"
    EARWITNESS_AUTHENTICATE              = "IAM checks callers"
    EARWITNESS_CALLERS                   = "IAM checks callers"
    EARWITNESS_CLOUD                     = "this is Google Cloud"
    EARWITNESS_DATA_DIR                  = "of the local cloud alone"
    EARWITNESS_DEAD_LETTERS_SUBSCRIPTION = "see name_prefix"
    EARWITNESS_DELIVERIES_TOPIC          = "see name_prefix"
    EARWITNESS_EVENTS_TOPIC              = "see name_prefix"
    EARWITNESS_FIRESTORE_DATABASE        = "see firestore.database"
    EARWITNESS_METRICS_TOKEN             = "a secret, which must not stand in Terraform's state"
    EARWITNESS_MODAL_ENVIRONMENT         = "see modal.environment"
    EARWITNESS_MODELS_DIR                = "of the local cloud alone"
    EARWITNESS_PROJECT                   = "see project"
    EARWITNESS_PUBLIC_URL                = "see api.custom_domain"
    EARWITNESS_REPORT_KEYS               = "see report_keys"
    EARWITNESS_REPORT_URL                = "the address of on_report"
    EARWITNESS_RESULTS_BUCKET            = "see buckets.results_name"
    EARWITNESS_SOURCE_BUCKETS            = "see source_buckets"
    EARWITNESS_UPLOADS_BUCKET            = "see buckets.uploads_name"
  }

  settings = merge(
    { EARWITNESS_LOG_FORMAT = "json" },
    var.settings,
    {
      EARWITNESS_CLOUD                     = "google"
      EARWITNESS_PROJECT                   = var.project.id
      EARWITNESS_FIRESTORE_DATABASE        = module.status.database.name
      EARWITNESS_EVENTS_TOPIC              = module.events.events_topic.name
      EARWITNESS_DELIVERIES_TOPIC          = module.events.deliveries_topic.name
      EARWITNESS_DEAD_LETTERS_SUBSCRIPTION = module.events.dead_letters_subscription
      EARWITNESS_UPLOADS_BUCKET            = module.storage.uploads.name
      EARWITNESS_RESULTS_BUCKET            = module.storage.results.name
      # IAM checks callers of the functions before it lets them through.
      EARWITNESS_AUTHENTICATE = "platform"
      EARWITNESS_API_ACCESS   = var.api.access
    },
    length(var.source_buckets) == 0 ? {} : {
      EARWITNESS_SOURCE_BUCKETS = join(",", flatten([for tenant, names in var.source_buckets : [for name in names : "${tenant}=${name}"]]))
    },
    var.modal.environment == null ? {} : { EARWITNESS_MODAL_ENVIRONMENT = var.modal.environment },
  )
}
