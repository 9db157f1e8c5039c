variable "project_id" {
  description = "Google Cloud project of this environment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id, not its name or number."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region's name, such as us-central1."
  }
}

variable "bundles_dir" {
  description = "Folder that `earwitness bundle` has written."
  type        = string
  default     = "bundles"
  nullable    = false
}

variable "modal_token" {
  description = "A token of Modal for this environment. Give it as TF_VAR_modal_token; null where existing_secrets names it."
  type        = object({ id = string, secret = string })
  default     = null
  sensitive   = true
}

variable "report_keys" {
  description = "Keys of GPU jobs' report tokens, each of 32 characters or more. Give them as TF_VAR_report_keys; null where existing_secrets names them."
  type        = list(string)
  default     = null
  sensitive   = true
}

variable "secrets_version" {
  description = "Raise it by one to store modal_token and report_keys again."
  type        = number
  default     = 1
  nullable    = false
}

variable "existing_secrets" {
  description = "Secrets that are in Secret Manager already, by what they are for: report_keys, modal_token_id, modal_token_secret."
  type        = map(object({ secret_id = string, version = string }))
  default     = {}
  nullable    = false
}

variable "alert_emails" {
  description = "Addresses that alerts are sent to; production has at least one."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.alert_emails) > 0 && alltrue([for address in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "alert_emails must name at least one address: someone has to hear of dead letters."
  }
}

variable "custom_domain" {
  description = "Domain of the API; Cloud Run's own address if null."
  type        = string
  default     = null
}

variable "kms_key_name" {
  description = "Cloud KMS key in the region; Google's own keys if null. Choose before the first apply: a database cannot change its key."
  type        = string
  default     = null
}

variable "budget" {
  description = "Monthly budget that is watched: its billing account and amount in that account's currency; none if null."
  type = object({
    billing_account = string
    amount          = number
  })
  default = null
}
