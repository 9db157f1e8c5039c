variable "project_id" {
  description = "Project that receives the database."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id: 6 to 30 characters of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "location" {
  description = "Location of the database, such as europe-west1, nam5 or eur3. It can never be changed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(nam[57]|eur3|[a-z]+-[a-z]+[0-9]+)$", var.location))
    error_message = "location must be a region, such as europe-west1, or one of Firestore's multi-regions nam5, nam7 and eur3."
  }
}

variable "database" {
  description = "Name of the database. Apps that use Firebase expect (default)."
  type        = string
  default     = "(default)"
  nullable    = false

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database must be (default), or 4 to 63 characters of a-z, 0-9 and -, beginning with a letter and ending with a letter or digit."
  }
}

variable "create_database" {
  description = "Whether the database is made here. Where it is there already, only indexes, fields and rules are."
  type        = bool
  default     = true
  nullable    = false
}

variable "indexes" {
  description = "Composite indexes, each with its fields in order. A field has an order, ASCENDING or DESCENDING, or the array_config CONTAINS."
  type = list(object({
    collection = string
    fields = list(object({
      field_path   = string
      order        = optional(string)
      array_config = optional(string)
    }))
  }))
  nullable = false

  validation {
    condition     = alltrue([for index in var.indexes : length(index.fields) >= 2])
    error_message = "indexes must have two fields or more each: Firestore indexes single fields by itself."
  }
  validation {
    condition     = alltrue(flatten([for index in var.indexes : [for field in index.fields : (field.order == null) != (field.array_config == null)]]))
    error_message = "indexes must give each field either an order or an array_config."
  }
  validation {
    condition = alltrue(flatten([for index in var.indexes : [
      for field in index.fields : contains(["ASCENDING", "DESCENDING"], coalesce(field.order, "ASCENDING")) && coalesce(field.array_config, "CONTAINS") == "CONTAINS"
    ]]))
    error_message = "indexes must have ASCENDING or DESCENDING for an order, and CONTAINS for an array_config."
  }
  validation {
    condition     = length(distinct(var.indexes)) == length(var.indexes)
    error_message = "indexes must not name one index twice."
  }
}

variable "ttl_fields" {
  description = "Fields that say when a document is to vanish: one a collection at most."
  type = list(object({
    collection = string
    field      = string
  }))
  default  = []
  nullable = false

  validation {
    condition     = length(distinct(var.ttl_fields[*].collection)) == length(var.ttl_fields)
    error_message = "ttl_fields must name one field a collection at most."
  }
}

variable "exempt_fields" {
  description = "Fields that get no index of their own: nobody looks for them, and an index of them would cost each write."
  type = list(object({
    collection = string
    field      = string
  }))
  default  = []
  nullable = false

  validation {
    condition     = length(distinct(var.exempt_fields)) == length(var.exempt_fields)
    error_message = "exempt_fields must not name one field twice."
  }
}

variable "rules" {
  description = "Security rules, as text: who may read and write besides service accounts. Null leaves the rules as they are, where another application has its own in this database."
  type        = string
  default     = null

  validation {
    condition     = var.rules == null || can(regex("service\\s+cloud\\.firestore\\s*\\{", var.rules))
    error_message = "rules must be security rules of Firestore: they contain `service cloud.firestore {`."
  }
}

variable "delete_protection" {
  description = "Whether Google refuses to delete the database. Turn it off, and apply, before you destroy it."
  type        = bool
  default     = true
  nullable    = false
}

variable "point_in_time_recovery" {
  description = "Whether the last seven days can be read and restored to the minute; otherwise the last hour."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_name" {
  description = "Cloud KMS key that the database is encrypted with, in its location. Null takes Google's own. It can be set only when the database is made."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY."
  }
}
