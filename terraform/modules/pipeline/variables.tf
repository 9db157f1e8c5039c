variable "project" {
  description = "Google Cloud project that receives everything: its id and its number."
  type = object({
    id     = string
    number = string
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project.id))
    error_message = "project.id must be a project's id: 6 to 30 characters of a-z, 0-9 and -, beginning with a letter."
  }
  validation {
    condition     = can(regex("^[0-9]+$", var.project.number))
    error_message = "project.number must be the project's number: digits alone. data.google_project tells it."
  }
}

variable "region" {
  description = "Region of the functions and of everything else that has one, such as europe-west1."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region's name, such as us-central1; a multi-region or a zone is none."
  }
}

variable "name_prefix" {
  description = "Begins the name of everything that is made, so that one project can hold several deployments."
  type        = string
  default     = "earwitness"
  nullable    = false

  validation {
    # A service account's name has 30 characters at most, and 12 of them are "-orchestrate".
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}$", var.name_prefix))
    error_message = "name_prefix must be 2 to 18 characters of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "labels" {
  description = "Labels of everything that takes labels."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "bundles_dir" {
  description = "Folder with one NAME.zip a function, as `earwitness bundle` writes it."
  type        = string
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(local.contract.functions) : fileexists("${var.bundles_dir}/${name}.zip")])
    error_message = "bundles_dir must hold a zip of each function of this version. Write them with `earwitness bundle --output DIR`."
  }
}

variable "modal_token" {
  description = "A token of Modal, as `modal token new` makes it, to be kept as two secrets here. Null where existing_secrets names them."
  type = object({
    id     = string
    secret = string
  })
  default   = null
  sensitive = true
}

variable "report_keys" {
  description = "Keys that GPU jobs' report tokens are signed with: the first signs, all are accepted. Null where existing_secrets names their secret."
  type        = list(string)
  default     = null
  sensitive   = true
}

variable "secrets_version" {
  description = "Raise it by one to store the values of modal_token and report_keys again: Terraform cannot see that they changed, because it does not keep them."
  type        = number
  default     = 1
  nullable    = false
}

variable "existing_secrets" {
  description = "Secrets of Secret Manager that are there already, by what they are for: report_keys, modal_token_id, modal_token_secret. A version is a number; project_id is of another project that holds them."
  type = map(object({
    secret_id  = string
    version    = string
    project_id = optional(string)
  }))
  default  = {}
  nullable = false
}

variable "settings" {
  description = "More settings of the functions, by the names of their environment variables, such as EARWITNESS_RETENTION_DAYS."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.settings), local.contract.settings)) == 0
    error_message = "settings must be settings of this version. Not known: ${join(", ", setsubtract(keys(var.settings), local.contract.settings))}."
  }
  validation {
    condition     = length(setintersection(keys(var.settings), keys(local.settings_from))) == 0
    error_message = "settings must not name what this module sets: ${join(", ", [for name, from in local.settings_from : "${name} (${from})" if contains(keys(var.settings), name)])}."
  }
}

variable "source_buckets" {
  description = "Buckets that are there already whose objects a tenant's jobs may name, by the tenant's name. Who applies this must be able to grant access to them."
  type        = map(set(string))
  default     = {}
  nullable    = false
}

variable "buckets" {
  description = "The uploads and results buckets: names (PROJECT-PREFIX-uploads and -results if left out), location (the region if left out), who may upload from a browser, and what is deleted when."
  type = object({
    uploads_name        = optional(string)
    results_name        = optional(string)
    location            = optional(string)
    cors_origins        = optional(list(string))
    soft_delete_days    = optional(number, 7)
    uploads_expire_days = optional(number)
    results_expire_days = optional(number)
    results_retention = optional(object({
      days   = number
      locked = optional(bool, false)
    }))
    access_log_bucket = optional(string)
    force_destroy     = optional(bool, false)
  })
  default  = {}
  nullable = false
}

variable "firestore" {
  description = "The Firestore database of the jobs: its name and location (the region if left out), whether it is made here, and what guards it. deploy_rules is off where another application has rules of its own in the same database."
  type = object({
    database               = optional(string, "(default)")
    location               = optional(string)
    create                 = optional(bool, true)
    deploy_rules           = optional(bool, true)
    delete_protection      = optional(bool, true)
    point_in_time_recovery = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.firestore.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.firestore.database))
    error_message = "firestore.database must be (default), or 4 to 63 characters of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "functions" {
  description = "What is to differ from this version's defaults, by function: memory (512Mi), cpu, time limit, requests at a time, and least and most instances."
  type = map(object({
    memory        = optional(string)
    cpu           = optional(string)
    timeout_s     = optional(number)
    concurrency   = optional(number)
    min_instances = optional(number)
    max_instances = optional(number)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(keys(var.functions), keys(local.contract.functions))) == 0
    error_message = "functions must name functions of this version: ${join(", ", keys(local.contract.functions))}. Not known: ${join(", ", setsubtract(keys(var.functions), keys(local.contract.functions)))}."
  }
}

variable "network" {
  description = "How functions reach out and are reached: a Serverless VPC Access connector and what goes through it, and who reaches private and public functions. With a custom domain, public_ingress_settings of ALLOW_INTERNAL_AND_GCLB leaves the API no other way in. on_report stays open to all networks: GPU jobs report there."
  type = object({
    vpc_connector           = optional(string)
    egress_settings         = optional(string, "PRIVATE_RANGES_ONLY")
    ingress_settings        = optional(string, "ALLOW_INTERNAL_ONLY")
    public_ingress_settings = optional(string, "ALLOW_ALL")
  })
  default  = {}
  nullable = false
}

variable "api" {
  description = "Who checks callers of the API (`keys`: the API itself; `platform`: IAM in front of it), whether anyone may call it (by default with keys alone), who else may call it (members of IAM), and a domain of its own with, if wanted, a Cloud Armor policy."
  type = object({
    access          = optional(string, "keys")
    is_public       = optional(bool)
    callers         = optional(map(string), {})
    custom_domain   = optional(string)
    security_policy = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["keys", "platform"], var.api.access)
    error_message = "api.access must be keys or platform."
  }
  validation {
    condition     = !(var.api.access == "platform" && var.api.is_public == true)
    error_message = "api.is_public must not be true where api.access is platform: the API would check nobody, and neither would IAM."
  }
  validation {
    condition     = length(setintersection(values(var.api.callers), ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "api.callers must be members of IAM that you know. Set api.is_public to let anyone call an API that checks keys."
  }
}

variable "kms_key_name" {
  description = "Cloud KMS key, in the region, that everything with data in it is encrypted with; Google's own keys if null. Google's service agents are granted its use."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/${var.region}/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/P/locations/REGION/keyRings/R/cryptoKeys/K with this deployment's region: Google encrypts nothing with a key from elsewhere."
  }
  validation {
    condition     = var.kms_key_name == null || alltrue([for place in compact([var.buckets.location, var.firestore.location]) : lower(place) == var.region])
    error_message = "kms_key_name must not be given where buckets.location or firestore.location is another than region: the key would have to be in both."
  }
}

variable "alerts" {
  description = "Alert policies, dashboard and budget: whether they are made, whom they tell, and from which figures on."
  type = object({
    enabled               = optional(bool, true)
    dashboard             = optional(bool, true)
    notification_channels = optional(list(string), [])
    thresholds = optional(object({
      dead_letters       = optional(number)
      oldest_unacked_s   = optional(number)
      stuck_jobs         = optional(number)
      unserved_jobs      = optional(number)
      runner_away_sweeps = optional(number)
      sweep_absent_s     = optional(number)
      error_ratio        = optional(number)
      api_p95_s          = optional(number)
      failed_job_ratio   = optional(number)
    }), {})
    budget = optional(object({
      billing_account = string
      amount          = number
      currency_code   = optional(string)
      thresholds      = optional(list(number))
    }))
  })
  default  = {}
  nullable = false
}

variable "enable_apis" {
  description = "Whether the project's APIs are turned on here. Off where another configuration does so."
  type        = bool
  default     = true
  nullable    = false
}

variable "modal" {
  description = "Modal's side: the environment the GPU jobs run in (Modal's default one if left out), and whether apply also deploys them, and again when a value of triggers changes. That needs `earwitness` and a token of Modal where Terraform runs; environment holds more variables of the command, none of them secret."
  type = object({
    environment = optional(string)
    deploy = optional(object({
      enabled     = optional(bool, false)
      command     = optional(string, "earwitness gpu deploy")
      environment = optional(map(string), {})
      triggers    = optional(map(string), {})
    }), {})
  })
  default  = {}
  nullable = false
}
