variable "project_id" {
  description = "Google Cloud project that receives everything."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of everything, the key and the connector among it."
  type        = string
  default     = "europe-west1"
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

variable "secrets_version" {
  description = "Raise it by one to store modal_token and report_keys again."
  type        = number
  default     = 1
  nullable    = false
}

variable "kms_key_name" {
  description = "Cloud KMS key that everything with data in it is encrypted with."
  type        = string
  nullable    = false
}

variable "vpc_connector" {
  description = "Serverless VPC Access connector that all outgoing traffic takes. Its network needs Cloud NAT: functions call Modal."
  type        = string
  nullable    = false
}

variable "domain" {
  description = "Domain that the API is served under, as speech.DOMAIN, and the web app, as app.DOMAIN."
  type        = string
  nullable    = false
}

variable "archive_bucket" {
  description = "Bucket with recordings of the tenant newsroom."
  type        = string
  nullable    = false
}

variable "access_log_bucket" {
  description = "Bucket that takes the access logs of the uploads and results buckets."
  type        = string
  nullable    = false
}

variable "oncall_email" {
  description = "Address that alerts are sent to."
  type        = string
  nullable    = false
}

variable "billing_account" {
  description = "Billing account of the budget."
  type        = string
  nullable    = false
}
