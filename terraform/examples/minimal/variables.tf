variable "project_id" {
  description = "Google Cloud project that receives everything."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of everything."
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

variable "modal_token" {
  description = "A token of Modal. Give it as TF_VAR_modal_token."
  type        = object({ id = string, secret = string })
  sensitive   = true
  nullable    = false
}

variable "report_keys" {
  description = "Keys of GPU jobs' report tokens, each of 32 characters or more. Give them as TF_VAR_report_keys."
  type        = list(string)
  sensitive   = true
  nullable    = false
}
