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
