variable "project_id" {
  description = "Project that receives the topics and subscriptions."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id: 6 to 30 characters of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "project_number" {
  description = "Number of that project; the name of Pub/Sub's service agent contains it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number must be the project's number: digits alone."
  }
}

variable "region" {
  description = "The one region that messages are kept in, wherever they were published."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region's name, such as europe-west1."
  }
}

variable "name_prefix" {
  description = "Begins the names of topics, subscriptions and the schema."
  type        = string
  default     = "earwitness"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name_prefix)) && !startswith(var.name_prefix, "goog")
    error_message = "name_prefix must be 1 to 20 characters of a-z, 0-9 and -, begin with a letter, and not begin with goog."
  }
}

variable "labels" {
  description = "Labels of all topics and subscriptions."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels must have keys and values of at most 63 characters of a-z, 0-9, _ and -, and keys must begin with a letter."
  }
}

variable "kms_key_name" {
  description = "Cloud KMS key that messages are encrypted with; Google's own keys if null. Pub/Sub's service agent is granted its use. It must be known when planning."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_name == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name must be projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }
}

variable "schema" {
  description = "Schema that Pub/Sub holds each published event against, as JSON; none if null. A changed definition becomes a new revision, of which Pub/Sub keeps 20 at most."
  type = object({
    type       = string
    definition = string
  })
  default = null

  validation {
    condition     = var.schema == null || try(contains(["PROTOCOL_BUFFER", "AVRO"], var.schema.type), false)
    error_message = "schema.type must be PROTOCOL_BUFFER or AVRO."
  }
  validation {
    condition     = var.schema == null || try(length(trimspace(var.schema.definition)) > 0 && length(var.schema.definition) <= 300000, false)
    error_message = "schema.definition must be a text of at most 300,000 characters, which is Pub/Sub's limit."
  }
  validation {
    condition     = !can(regex("(?m)^\\s*import\\s", var.schema.definition))
    error_message = "schema.definition must not import anything: Pub/Sub's protocol buffers know no other file."
  }
}

variable "subscriptions" {
  description = "Push subscriptions by name: which topic (events or deliveries) goes to which HTTPS address, which event types (all if empty), within how many seconds it must be taken, the pauses between tries, and after how many tries a message becomes a dead letter."
  type = map(object({
    topic                 = string
    push_endpoint         = string
    event_types           = optional(list(string), [])
    ack_deadline_s        = number
    min_retry_s           = number
    max_retry_s           = number
    max_delivery_attempts = optional(number, 20)
  }))
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.subscriptions) : can(regex("^[a-z][a-z0-9_-]{0,99}$", name)) && replace(name, "_", "-") != "dead-letters"])
    error_message = "subscriptions must have names of a-z, 0-9, _ and - that begin with a letter; dead-letters is this module's own."
  }
  validation {
    condition     = length(distinct([for name in keys(var.subscriptions) : replace(name, "_", "-")])) == length(var.subscriptions)
    error_message = "subscriptions must have names that differ in more than _ and -."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : contains(["events", "deliveries"], row.topic)])
    error_message = "subscriptions must each have the topic events or deliveries."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : startswith(row.push_endpoint, "https://")])
    error_message = "subscriptions must each have a push_endpoint that begins with https://."
  }
  validation {
    condition     = alltrue(flatten([for row in var.subscriptions : [for type in row.event_types : can(regex("^[a-z]+(_[a-z]+)*\\.[a-z]+(_[a-z]+)*$", type))]]))
    error_message = "subscriptions must have event_types as events have them, such as job.completed."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : length(join(" OR ", [for type in row.event_types : "attributes.type = \"${type}\""])) <= 256])
    error_message = "subscriptions must have so few event_types that the filter made of them has at most 256 bytes, which is Pub/Sub's limit. Split the subscription, or take all types."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : row.ack_deadline_s >= 10 && row.ack_deadline_s <= 600 && floor(row.ack_deadline_s) == row.ack_deadline_s])
    error_message = "subscriptions must each have an ack_deadline_s of 10 to 600, without a fraction."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : row.min_retry_s >= 0 && row.min_retry_s <= row.max_retry_s && row.max_retry_s <= 600])
    error_message = "subscriptions must each have a min_retry_s of at least 0 and a max_retry_s from there to 600."
  }
  validation {
    condition     = alltrue([for row in var.subscriptions : row.max_delivery_attempts >= 5 && row.max_delivery_attempts <= 100 && floor(row.max_delivery_attempts) == row.max_delivery_attempts])
    error_message = "subscriptions must each have max_delivery_attempts of 5 to 100, without a fraction."
  }
}

variable "push_service_account" {
  description = "E-mail address of the service account that Pub/Sub calls the functions as. Who applies this must be able to act as it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[^@:\\s]+@[^@\\s]+\\.gserviceaccount\\.com$", var.push_service_account))
    error_message = "push_service_account must be a service account's e-mail address, without serviceAccount: before it."
  }
}

variable "message_retention" {
  description = "For how long the events topic keeps events that were taken, so that a subscription can go back to a time, in seconds such as 604800s."
  type        = string
  default     = "604800s"
  nullable    = false

  validation {
    condition     = try(tonumber(trimsuffix(var.message_retention, "s")) >= 600 && tonumber(trimsuffix(var.message_retention, "s")) <= 2678400, false) && can(regex("^[0-9]+s$", var.message_retention))
    error_message = "message_retention must be from 600s to 2678400s, which is 31 days."
  }
}

variable "dead_letter_retention" {
  description = "For how long dead letters are kept, in seconds such as 2678400s, which is 31 days and the most there is."
  type        = string
  default     = "2678400s"
  nullable    = false

  validation {
    condition     = try(tonumber(trimsuffix(var.dead_letter_retention, "s")) >= 600 && tonumber(trimsuffix(var.dead_letter_retention, "s")) <= 2678400, false) && can(regex("^[0-9]+s$", var.dead_letter_retention))
    error_message = "dead_letter_retention must be from 600s to 2678400s, which is 31 days."
  }
}
