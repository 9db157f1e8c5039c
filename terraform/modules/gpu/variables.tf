variable "project_id" {
  description = "Google Cloud project that the secrets are kept in."
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "What every name begins with."
  type        = string
  default     = "earwitness"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name_prefix))
    error_message = "name_prefix must begin with a lower-case letter and hold at most 20 of lower-case letters, digits and dashes."
  }
}

variable "labels" {
  description = "Labels of the secrets that are made here."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "kms_key_name" {
  description = "Cloud KMS key that encrypts the secrets made here, which are then kept where the key is; Google's own keys, and Google's choice of places, if null."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be a key's full name: projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "modal_token" {
  description = "Token of Modal that functions start GPU jobs with, as `modal token new` shows it. Null where existing_secrets names it."
  type = object({
    id     = string
    secret = string
  })
  default   = null
  sensitive = true

  validation {
    condition     = var.modal_token == null || (try(length(trimspace(var.modal_token.id)), 0) > 0 && try(length(trimspace(var.modal_token.secret)), 0) > 0)
    error_message = "modal_token must have both an id and a secret."
  }
}

variable "report_keys" {
  description = "Secrets that report tokens are signed with: the first signs, all are accepted. Each has at least 32 characters. Null where existing_secrets names them."
  type        = list(string)
  default     = null
  sensitive   = true

  validation {
    condition     = var.report_keys == null || try(length(var.report_keys) > 0 && alltrue([for key in var.report_keys : length(key) >= 32]), false)
    error_message = "report_keys must hold at least one key, each of at least 32 characters."
  }

  validation {
    condition     = var.report_keys == null || try(alltrue([for key in var.report_keys : can(regex("^[^,\\s]+$", key))]), false)
    error_message = "report_keys must not hold commas or white space: the keys are stored as one list."
  }
}

variable "values_version" {
  description = "Version of the values given in modal_token and report_keys. Terraform does not keep them and cannot see that they changed: raise it to store new ones."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.values_version >= 1 && floor(var.values_version) == var.values_version
    error_message = "values_version must be a whole number from 1 up."
  }
}

variable "existing_secrets" {
  description = "Secrets that are there already, instead of modal_token and report_keys: report_keys, modal_token_id, modal_token_secret. Each by its id and version; project_id if it is another project's."
  type = map(object({
    secret_id  = string
    version    = string
    project_id = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.existing_secrets) : contains(["report_keys", "modal_token_id", "modal_token_secret"], name)])
    error_message = "existing_secrets may name report_keys, modal_token_id and modal_token_secret only."
  }

  validation {
    condition     = alltrue([for secret in var.existing_secrets : can(regex("^[1-9][0-9]*$", secret.version))])
    error_message = "existing_secrets[*].version must be a number: with \"latest\" two instances of one function may hold two values."
  }

  validation {
    condition     = contains(keys(var.existing_secrets), "report_keys") != nonsensitive(var.report_keys != null)
    error_message = "existing_secrets must name report_keys if the variable report_keys is null, and only then."
  }

  validation {
    condition     = alltrue([for name in ["modal_token_id", "modal_token_secret"] : contains(keys(var.existing_secrets), name) != nonsensitive(var.modal_token != null)])
    error_message = "existing_secrets must name modal_token_id and modal_token_secret if the variable modal_token is null, and only then."
  }
}

variable "accessors" {
  description = "Who reads which secret: by the secret's name (report_keys, modal_token_id, modal_token_secret), members by the function's name."
  type        = map(map(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.accessors) : contains(["report_keys", "modal_token_id", "modal_token_secret"], name)])
    error_message = "accessors may be listed by report_keys, modal_token_id and modal_token_secret only."
  }

  validation {
    condition     = alltrue(flatten([for members in var.accessors : [for member in members : startswith(member, "serviceAccount:")]]))
    error_message = "accessors must be service accounts: only functions read these secrets."
  }
}

variable "deploy" {
  description = <<-EOT
    Deploys the GPU jobs to Modal from the machine that Terraform runs on. Off by default: see the README for the way by CI.

    - `enabled`: whether to.
    - `command`: what deploys them. It finds its Modal token where Modal's client does: in its environment or in ~/.modal.toml.
    - `environment`: more environment variables of that command, none of them secret; EARWITNESS_MODAL_ENVIRONMENT, for one.
    - `triggers`: deploys again when any of these values changes: a hash of gpu_jobs, a version. With none it deploys once.
  EOT
  type = object({
    enabled     = optional(bool, false)
    command     = optional(string, "earwitness gpu deploy")
    environment = optional(map(string), {})
    triggers    = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = !contains(keys(var.deploy.environment), "MODAL_TOKEN_SECRET") && !contains(keys(var.deploy.environment), "MODAL_TOKEN_ID")
    error_message = "deploy.environment must not hold Modal's token: it would stand in the state. Set it in the environment that Terraform runs in."
  }
}
