variable "project_id" {
  description = "Google Cloud project of the load balancer."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the Cloud Run service behind it."
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
  description = "Labels of what can have some: the address and the forwarding rules."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "domain" {
  description = "Domain that clients call, such as audio.example.com. Its A record has to lead to the output ip_address."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain))
    error_message = "domain must be a domain in lower case, such as audio.example.com, without https:// and without a path."
  }
}

variable "service_name" {
  description = "Name of the Cloud Run service behind the domain; a function's service has the function's name."
  type        = string
  nullable    = false
}

variable "security_policy" {
  description = "Cloud Armor policy, by its id, that requests are checked against; none if null."
  type        = string
  default     = null
}
