variable "project_id" {
  description = "Project that receives the buckets."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id: 6 to 30 characters of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "project_number" {
  description = "Number of that project; the name of Cloud Storage's service agent contains it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number must be the project's number: digits alone."
  }
}

variable "location" {
  description = "Location of both buckets, such as europe-west1 or EU. It cannot be changed later without making the buckets anew."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]+$", var.location))
    error_message = "location must be a location of Cloud Storage, such as europe-west1 or EU."
  }
}

variable "uploads_name" {
  description = "Name of the bucket that recordings arrive in. Names of buckets are taken worldwide."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.uploads_name)) && !startswith(var.uploads_name, "goog")
    error_message = "uploads_name must be 3 to 63 characters of a-z, 0-9, - and _, begin and end with a letter or digit, and not begin with goog."
  }
}

variable "results_name" {
  description = "Name of the bucket that artifacts are written to. Names of buckets are taken worldwide."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.results_name)) && !startswith(var.results_name, "goog")
    error_message = "results_name must be 3 to 63 characters of a-z, 0-9, - and _, begin and end with a letter or digit, and not begin with goog."
  }
  validation {
    condition     = var.results_name != var.uploads_name
    error_message = "results_name must not be uploads_name: what a function writes would count as an upload."
  }
}

variable "labels" {
  description = "Labels of both buckets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels must have keys and values of at most 63 characters of a-z, 0-9, _ and -, and keys must begin with a letter."
  }
}

variable "kms_key_name" {
  description = "Cloud KMS key that objects are encrypted with, in the buckets' location; Google's own keys if null. Cloud Storage's service agent is granted its use. It must be known when planning."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }
}

variable "cors" {
  description = "What pages in a browser may do with the uploads bucket: from which origins, by which methods, and which headers of the answer they may read. None by default."
  type = list(object({
    origin          = list(string)
    method          = list(string)
    response_header = optional(list(string), [])
    max_age_seconds = optional(number, 3600)
  }))
  default  = []
  nullable = false

  validation {
    condition     = alltrue([for row in var.cors : length(row.origin) > 0 && alltrue([for origin in row.origin : origin == "*" || can(regex("^https?://[^/*]+$", origin))])])
    error_message = "cors must name in each row's origin at least one origin: *, or a scheme and a host without a path, such as https://app.example.com."
  }
  validation {
    condition     = alltrue([for row in var.cors : length(row.method) > 0 && length(setsubtract(row.method, ["GET", "HEAD", "PUT", "POST"])) == 0])
    error_message = "cors must name in each row's method some of GET, HEAD, PUT and POST: signed URLs are for nothing else."
  }
  validation {
    condition     = alltrue([for row in var.cors : row.max_age_seconds >= 0 && row.max_age_seconds <= 86400])
    error_message = "cors must have in each row a max_age_seconds of 0 to 86400."
  }
}

variable "soft_delete_days" {
  description = "For how many days a deleted object can be restored; 0 turns that off, and what a tenant deletes is gone at once."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90 && floor(var.soft_delete_days) == var.soft_delete_days)
    error_message = "soft_delete_days must be 0 or a whole number from 7 to 90."
  }
}

variable "uploads_expire_days" {
  description = "After how many days an upload is deleted whatever became of its job; never if null. A job that is tried again later than that fails."
  type        = number
  default     = null

  validation {
    condition     = var.uploads_expire_days == null || try(var.uploads_expire_days >= 1 && floor(var.uploads_expire_days) == var.uploads_expire_days, false)
    error_message = "uploads_expire_days must be null or a whole number of at least 1."
  }
}

variable "results_expire_days" {
  description = "After how many days an artifact is deleted though its job may still name it; never if null. Where jobs are to go with their artifacts, set EARWITNESS_RETENTION_DAYS instead."
  type        = number
  default     = null

  validation {
    condition     = var.results_expire_days == null || try(var.results_expire_days >= 1 && floor(var.results_expire_days) == var.results_expire_days, false)
    error_message = "results_expire_days must be null or a whole number of at least 1."
  }
  validation {
    condition     = try(var.results_expire_days >= var.results_retention.days, true)
    error_message = "results_expire_days must not be less than results_retention.days: until then nothing can be deleted."
  }
}

variable "results_retention" {
  description = "For how many days nobody can delete or replace an artifact; null for no such time. Locked, it can never be shortened again. Jobs that are deleted before then keep their artifacts until it is over."
  type = object({
    days   = number
    locked = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.results_retention == null || try(var.results_retention.days >= 1 && var.results_retention.days <= 24855 && floor(var.results_retention.days) == var.results_retention.days, false)
    error_message = "results_retention.days must be a whole number from 1 to 24855: of seconds, google 6 can count no more."
  }
}

variable "access_log_bucket" {
  description = "Bucket that usage logs of both buckets go to, under their names; none if null. group:cloud-storage-analytics@google.com must be allowed to create objects there."
  type        = string
  default     = null

  validation {
    condition     = var.access_log_bucket == null || try(!contains([var.uploads_name, var.results_name], var.access_log_bucket), false)
    error_message = "access_log_bucket must not be one of this module's own buckets."
  }
}

variable "force_destroy" {
  description = "Whether destroying the module deletes what is in the buckets. Without it a bucket that holds anything is refused."
  type        = bool
  default     = false
  nullable    = false
}
