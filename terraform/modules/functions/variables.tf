variable "project_id" {
  description = "Google Cloud project that the functions run in."
  type        = string
  nullable    = false
}

variable "project_number" {
  description = "Number of the project; Google's bucket of function sources has it in its name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number must be the project's number, such as 123456789012, not its id."
  }
}

variable "region" {
  description = "Region of the functions, their sources and their images."
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
  description = "Labels of everything that can have some."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "kms_key_name" {
  description = "Cloud KMS key that encrypts sources, images and instances, in the functions' region; Google's own keys if null."
  type        = string
  default     = null
}

variable "bundles_dir" {
  description = "Folder that `earwitness bundle` has written: NAME.zip for each function."
  type        = string
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.functions) : fileexists("${var.bundles_dir}/${name}.zip")])
    error_message = "bundles_dir must hold NAME.zip for each of: ${join(", ", keys(var.functions))}. `earwitness bundle --output FOLDER` writes them."
  }
}

variable "functions" {
  description = <<-EOT
    Functions by their names.

    - `entry_point`, `runtime`: what is called in the bundle, and by which runtime of Google's.
    - `memory`, `cpu`, `timeout_s`: of one instance, and of one request.
    - `concurrency`: requests that one instance takes at once.
    - `min_instances`, `max_instances`: how many instances are kept and allowed; 0 as a maximum leaves it to Google.
    - `trigger`: `public_http` and `http` are called by HTTP, `finalize` by Eventarc for each upload.
    - `secrets`: which of `secrets` it gets.
    - `needs_report_url`: whether it tells GPU jobs where to report.
  EOT
  type = map(object({
    entry_point      = string
    runtime          = string
    memory           = string
    cpu              = string
    timeout_s        = number
    concurrency      = number
    min_instances    = optional(number, 0)
    max_instances    = optional(number, 0)
    trigger          = string
    secrets          = optional(list(string), [])
    needs_report_url = optional(bool, false)
  }))
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.functions) : can(regex("^[a-z][a-z0-9_]{0,29}$", name))])
    error_message = "functions must be named as their bundles are: a lower-case letter, then lower-case letters, digits and underscores."
  }

  validation {
    condition     = alltrue([for function in var.functions : contains(["public_http", "http", "finalize"], function.trigger)])
    error_message = "functions[*].trigger must be \"public_http\", \"http\" or \"finalize\"."
  }

  validation {
    condition     = alltrue([for function in var.functions : can(regex("^[0-9]+(Mi|Gi)$", function.memory))])
    error_message = "functions[*].memory must be a number with Mi or Gi, such as \"512Mi\"."
  }

  validation {
    condition     = alltrue([for function in var.functions : function.concurrency == 1 || try(tonumber(function.cpu) >= 1, false)])
    error_message = "functions[*].cpu must be at least \"1\" where concurrency is more than 1: Cloud Run takes no more than one request a time on less."
  }

  validation {
    condition     = alltrue([for function in var.functions : function.concurrency >= 1 && function.concurrency <= 1000])
    error_message = "functions[*].concurrency must be from 1 to 1000."
  }

  validation {
    condition     = alltrue([for function in var.functions : function.timeout_s >= 1 && function.timeout_s <= (function.trigger == "finalize" ? 540 : 3600)])
    error_message = "functions[*].timeout_s must be from 1 to 3600, and at most 540 where the trigger is \"finalize\"."
  }

  validation {
    condition     = alltrue([for function in var.functions : function.min_instances >= 0 && (function.max_instances == 0 || function.min_instances <= function.max_instances)])
    error_message = "functions[*].min_instances must not be negative or above max_instances."
  }

  validation {
    condition     = alltrue(flatten([for function in var.functions : [for secret in function.secrets : contains(["report_keys", "modal_token_id", "modal_token_secret"], secret)]]))
    error_message = "functions[*].secrets may hold \"report_keys\", \"modal_token_id\" and \"modal_token_secret\"."
  }

  validation {
    condition     = alltrue([for function in var.functions : !function.needs_report_url || function.trigger != "public_http"])
    error_message = "functions[*].needs_report_url must be false where the trigger is \"public_http\": those functions are made first, on_report among them."
  }

  validation {
    condition     = !anytrue([for function in var.functions : function.needs_report_url]) || try(var.functions["on_report"].trigger == "public_http", false)
    error_message = "functions must hold on_report, with the trigger \"public_http\", where another has needs_report_url."
  }
}

variable "service_accounts" {
  description = "Email of the service account that each function runs as, by the function's name."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.functions), keys(var.service_accounts))) == 0
    error_message = "service_accounts must have one for each function; there is none for: ${join(", ", setsubtract(keys(var.functions), keys(var.service_accounts)))}."
  }
}

variable "settings" {
  description = "Environment variables of every function, such as EARWITNESS_CLOUD. Nothing secret belongs here."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "settings must be named as environment variables are: upper-case letters, digits and underscores."
  }

  validation {
    condition = length(setintersection(keys(var.settings), [
      "EARWITNESS_PUBLIC_URL", "EARWITNESS_REPORT_URL", "EARWITNESS_REPORT_KEYS", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET",
    ])) == 0
    error_message = "settings must not hold EARWITNESS_PUBLIC_URL (that is public_url), EARWITNESS_REPORT_URL (that is on_report's address), or a secret (those are in secrets)."
  }
}

variable "secrets" {
  description = "Versions in Secret Manager, by the names that functions ask for them. A function is deployed only once this is known, so it should wait for the grants."
  type = map(object({
    secret_id  = string
    version    = string
    project_id = string
  }))
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(flatten([for function in var.functions : function.secrets]), keys(var.secrets))) == 0
    error_message = "secrets must have all that functions ask for; there is none for: ${join(", ", setsubtract(flatten([for function in var.functions : function.secrets]), keys(var.secrets)))}."
  }

  validation {
    condition     = alltrue([for secret in var.secrets : secret.version != "latest"])
    error_message = "secrets[*].version must be a number: with \"latest\" two instances of one function may hold two values."
  }
}

variable "public_url" {
  description = "Where clients reach the API, where that is not its own address: a custom domain. Null if they use its own."
  type        = string
  default     = null

  validation {
    condition     = var.public_url == null || can(regex("^https://[^/]+$", var.public_url))
    error_message = "public_url must be https:// and a domain, with nothing after it."
  }
}

variable "uploads_bucket" {
  description = "Name of the bucket whose finished uploads call the functions with the trigger `finalize`."
  type        = string
  nullable    = false
}

variable "uploads_location" {
  description = "Location of that bucket, where its trigger has to be; the functions' region if null."
  type        = string
  default     = null
}

variable "upload_events_service_account" {
  description = "Email of the service account that Eventarc calls those functions as. It needs roles/eventarc.eventReceiver; that it may call them is granted here."
  type        = string
  nullable    = false
}

variable "network" {
  description = <<-EOT
    Ways in and out.

    - `vpc_connector`: Serverless VPC Access connector that functions go out by; straight to the internet if null.
    - `egress_settings`: what goes by the connector, `PRIVATE_RANGES_ONLY` or `ALL_TRAFFIC`.
    - `ingress_settings`: who reaches functions that are not public, before IAM is asked.
    - `public_ingress_settings`: who reaches the others, but for on_report: GPU jobs call that from outside.
  EOT
  type = object({
    vpc_connector           = optional(string)
    egress_settings         = optional(string, "PRIVATE_RANGES_ONLY")
    ingress_settings        = optional(string, "ALLOW_INTERNAL_ONLY")
    public_ingress_settings = optional(string, "ALLOW_ALL")
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"], var.network.egress_settings)
    error_message = "network.egress_settings must be \"PRIVATE_RANGES_ONLY\" or \"ALL_TRAFFIC\"."
  }

  validation {
    condition     = alltrue([for value in [var.network.ingress_settings, var.network.public_ingress_settings] : contains(["ALLOW_ALL", "ALLOW_INTERNAL_ONLY", "ALLOW_INTERNAL_AND_GCLB"], value)])
    error_message = "network.ingress_settings and network.public_ingress_settings must be \"ALLOW_ALL\", \"ALLOW_INTERNAL_ONLY\" or \"ALLOW_INTERNAL_AND_GCLB\"."
  }
}

variable "public_functions" {
  description = "Functions that anyone may call, because they check their callers themselves."
  type        = set(string)
  default     = ["api", "on_report"]
  nullable    = false

  validation {
    condition     = alltrue([for name in var.public_functions : try(var.functions[name].trigger == "public_http", false)])
    error_message = "public_functions may hold functions with the trigger \"public_http\" only."
  }
}

variable "invokers" {
  description = "Who else may call a function: by its name, members by keys of your choice."
  type        = map(map(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.invokers) : contains(keys(var.functions), name)])
    error_message = "invokers must be listed by the names of functions; there is none named: ${join(", ", setsubtract(keys(var.invokers), keys(var.functions)))}."
  }

  validation {
    condition     = !anytrue(flatten([for members in var.invokers : [for member in members : contains(["allUsers", "allAuthenticatedUsers"], member)]]))
    error_message = "invokers must not hold allUsers or allAuthenticatedUsers; public_functions is for what is open to anyone."
  }
}
