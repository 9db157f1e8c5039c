variable "project_id" {
  description = "Google Cloud project that receives what is new."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of everything that is made."
  type        = string
  default     = "us-central1"
  nullable    = false
}

variable "bundles_dir" {
  description = "Folder that `earwitness bundle` has written."
  type        = string
  default     = "bundles"
  nullable    = false
}

variable "database" {
  description = "Firestore database that is there already."
  type        = string
  default     = "(default)"
  nullable    = false
}

variable "existing_secrets" {
  description = "Secrets that are there already, by what they are for."
  type        = map(object({ secret_id = string, version = string }))
  nullable    = false
  default = {
    report_keys        = { secret_id = "earwitness-report-keys", version = "1" }
    modal_token_id     = { secret_id = "modal-token-id", version = "1" }
    modal_token_secret = { secret_id = "modal-token-secret", version = "1" }
  }
}

variable "api_callers" {
  description = "Members of IAM that may call the API, by a name that stays."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(setintersection(values(var.api_callers), ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "api_callers must be members that you know: the API asks them for no key."
  }
}
