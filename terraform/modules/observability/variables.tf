variable "project_id" {
  description = "Project whose metrics, alerts and dashboard these are."
  type        = string
  nullable    = false
}

variable "project_number" {
  description = "Number of the project, by which a budget names it. Null leaves the id, which Google changes to the number, so that each plan shows a change."
  type        = string
  default     = null
}

variable "name_prefix" {
  description = "What the names of metrics, and the titles of alerts and of the dashboard, begin with."
  type        = string
  default     = "earwitness"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name_prefix))
    error_message = "name_prefix must be 1 to 20 lower case letters, digits and dashes, with a letter first."
  }
}

variable "labels" {
  description = "Labels of the alert policies."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "function_services" {
  description = "Cloud Run service of each function, by the function's name. Alerts on requests and log lines are of these alone."
  type        = map(string)
  nullable    = false

  validation {
    condition     = contains(keys(var.function_services), "api")
    error_message = "function_services must name the service of the function api."
  }

  validation {
    condition     = alltrue([for service in values(var.function_services) : can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", service))])
    error_message = "function_services must hold names of Cloud Run services, such as earwitness-api."
  }
}

variable "subscriptions" {
  description = "Names of the push subscriptions whose oldest message is watched."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subscriptions) > 0 && alltrue([for name in var.subscriptions : can(regex("^[A-Za-z][A-Za-z0-9-]{2,254}$", name))])
    error_message = "subscriptions must hold names, not full ids, of at least one subscription, such as earwitness-orchestrate."
  }
}

variable "dead_letters_subscription" {
  description = "Name of the subscription that keeps what no function would take."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{2,254}$", var.dead_letters_subscription))
    error_message = "dead_letters_subscription must be a name, not a full id, such as earwitness-dead-letters."
  }
}

variable "notification_channels" {
  description = "Full names of the notification channels that alerts and the budget tell. Without any, alerts are seen in the console alone."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "notification_channels must hold full names, such as projects/my-project/notificationChannels/123."
  }
}

variable "thresholds" {
  description = <<-EOT
    Above which values an alert fires.

    - `dead_letters`: messages in the dead letters.
    - `oldest_unacked_s`: age of a subscription's oldest message. A function of events may rightly take ten minutes, and is then tried again.
    - `stuck_jobs`: jobs that the sweep had to help on within 15 minutes, for one reason.
    - `unserved_jobs`: times that the sweep could do nothing for a job, within 15 minutes. It looks at each about once a minute.
    - `runner_away_sweeps`: sweeps within 10 minutes that could not reach Modal.
    - `sweep_absent_s`: time without a completed sweep, in whole minutes.
    - `error_ratio`: share of a function's requests that it answers with 5xx.
    - `api_p95_s`: 95th percentile of how long the API takes, without what waits for jobs.
    - `failed_job_ratio`: share of failed jobs among those that were completed or failed within 30 minutes.
  EOT
  type = object({
    dead_letters       = optional(number, 0)
    oldest_unacked_s   = optional(number, 1200)
    stuck_jobs         = optional(number, 5)
    unserved_jobs      = optional(number, 10)
    runner_away_sweeps = optional(number, 3)
    sweep_absent_s     = optional(number, 600)
    error_ratio        = optional(number, 0.05)
    api_p95_s          = optional(number, 2)
    failed_job_ratio   = optional(number, 0.1)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for value in values(var.thresholds) : value >= 0])
    error_message = "thresholds must not be negative."
  }

  validation {
    condition     = var.thresholds.error_ratio < 1 && var.thresholds.failed_job_ratio < 1
    error_message = "thresholds error_ratio and failed_job_ratio are shares and must be below 1."
  }

  validation {
    condition     = var.thresholds.sweep_absent_s >= 120 && var.thresholds.sweep_absent_s % 60 == 0
    error_message = "thresholds sweep_absent_s must be whole minutes, two at least: the sweep comes once a minute."
  }
}

variable "budget" {
  description = <<-EOT
    A monthly budget of the project, which tells and stops nothing. Null makes none.

    - `billing_account`: id such as 012345-6789AB-CDEF01; who applies needs roles/billing.costsManager on it.
    - `amount`: whole units of `currency_code`, which must be the account's own currency.
    - `thresholds`: shares of the amount at which it tells.
  EOT
  type = object({
    billing_account = string
    amount          = number
    currency_code   = optional(string, "USD")
    thresholds      = optional(list(number), [0.5, 0.9, 1])
  })
  default = null

  validation {
    condition     = var.budget == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget billing_account must look like 012345-6789AB-CDEF01."
  }

  validation {
    condition     = var.budget == null || (try(var.budget.amount > 0, false) && try(floor(var.budget.amount) == var.budget.amount, false))
    error_message = "budget amount must be a whole number above 0."
  }

  validation {
    condition     = var.budget == null || (try(length(var.budget.thresholds) > 0, false) && try(alltrue([for share in var.budget.thresholds : share > 0]), false))
    error_message = "budget thresholds must be shares above 0, at least one, such as 0.9."
  }
}

variable "dashboard" {
  description = "Whether to make a dashboard."
  type        = bool
  default     = true
  nullable    = false
}
