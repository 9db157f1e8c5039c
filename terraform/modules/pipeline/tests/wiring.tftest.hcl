# What is made, of which figures, under which names.

provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project     = { id = "test-project", number = "123456789012" }
  region      = "europe-west1"
  bundles_dir = "tests/bundles"
  modal_token = { id = "ak-test", secret = "as-test" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
}

run "all_is_named_by_the_prefix_and_functions_are_told_the_names" {
  command = plan

  variables {
    name_prefix = "speech"
  }

  assert {
    condition     = alltrue([for name, function in module.functions.names : function == "speech-${replace(name, "_", "-")}"])
    error_message = "Functions must be named by the prefix."
  }
  assert {
    condition     = module.events.events_topic.name == "speech-events" && module.events.deliveries_topic.name == "speech-deliveries" && module.events.dead_letters_subscription == "speech-dead-letters"
    error_message = "Topics and the dead letters must be named by the prefix."
  }
  assert {
    condition     = module.storage.uploads.name == "test-project-speech-uploads" && module.storage.results.name == "test-project-speech-results"
    error_message = "Buckets must be named by project and prefix."
  }
  assert {
    condition     = alltrue([for account in merge(google_service_account.functions, google_service_account.callers) : startswith(account.account_id, "speech-")])
    error_message = "Accounts must be named by the prefix."
  }
  assert {
    condition     = google_cloud_scheduler_job.sweep.name == "speech-sweep"
    error_message = "The schedule must be named by the prefix."
  }
  assert {
    condition = local.settings == {
      EARWITNESS_API_ACCESS                = "keys"
      EARWITNESS_AUTHENTICATE              = "platform"
      EARWITNESS_CLOUD                     = "google"
      EARWITNESS_DEAD_LETTERS_SUBSCRIPTION = "speech-dead-letters"
      EARWITNESS_DELIVERIES_TOPIC          = "speech-deliveries"
      EARWITNESS_EVENTS_TOPIC              = "speech-events"
      EARWITNESS_FIRESTORE_DATABASE        = "(default)"
      EARWITNESS_LOG_FORMAT                = "json"
      EARWITNESS_PROJECT                   = "test-project"
      EARWITNESS_RESULTS_BUCKET            = "test-project-speech-results"
      EARWITNESS_UPLOADS_BUCKET            = "test-project-speech-uploads"
    }
    error_message = "Settings must be exactly these."
  }
  assert {
    condition     = length(setsubtract(keys(local.settings_from), local.contract.settings)) == 0
    error_message = "Settings that cannot be given must be settings of this version."
  }
  assert {
    condition     = length(setsubtract(setsubtract(keys(local.settings), ["EARWITNESS_LOG_FORMAT"]), keys(local.settings_from))) == 0
    error_message = "What this module sets cannot be given."
  }
}

run "what_is_given_replaces_the_defaults_and_nothing_else" {
  command = plan

  variables {
    settings  = { EARWITNESS_RETENTION_DAYS = "30", EARWITNESS_LOG_FORMAT = "text" }
    functions = { api = { min_instances = 1, memory = "1Gi" } }
    api       = { is_public = false }
  }

  assert {
    condition     = local.settings["EARWITNESS_RETENTION_DAYS"] == "30" && local.settings["EARWITNESS_LOG_FORMAT"] == "text"
    error_message = "A setting must be taken over."
  }
  assert {
    condition     = local.functions.api == merge(local.contract.functions.api, { min_instances = 1, memory = "1Gi" })
    error_message = "A figure that is given must replace this version's, and no other."
  }
  assert {
    condition     = local.functions.sweep == merge(local.contract.functions.sweep, { min_instances = 0 })
    error_message = "Other functions must stay as they are."
  }
  assert {
    condition     = local.public_functions == toset(["on_report"]) && local.settings["EARWITNESS_API_ACCESS"] == "keys"
    error_message = "An API with keys can be private: then both IAM and the API check."
  }
  assert {
    condition     = alltrue([for api in google_project_service.apis : api.disable_on_destroy == false && api.project == "test-project"])
    error_message = "Others in the project may need an API."
  }
  assert {
    condition = length(setsubtract([
      "artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "cloudfunctions.googleapis.com",
      "cloudscheduler.googleapis.com", "eventarc.googleapis.com", "firebaserules.googleapis.com",
      "firestore.googleapis.com", "iamcredentials.googleapis.com", "pubsub.googleapis.com", "run.googleapis.com",
      "secretmanager.googleapis.com", "storage.googleapis.com",
    ], keys(google_project_service.apis))) == 0
    error_message = "All APIs that the deployment by hand turns on must be on."
  }
  assert {
    condition     = length(setintersection(["compute.googleapis.com", "cloudkms.googleapis.com", "vpcaccess.googleapis.com", "billingbudgets.googleapis.com"], keys(google_project_service.apis))) == 0
    error_message = "An API that nothing needs must stay as it is."
  }
}

run "apis_and_alerts_can_be_left_out" {
  command = plan

  variables {
    enable_apis = false
    alerts      = { enabled = false }
  }

  assert {
    condition     = length(google_project_service.apis) == 0 && google_cloud_scheduler_job.sweep.project == "test-project"
    error_message = "No API may be turned on, and all else must be made."
  }
  assert {
    condition     = output.alert_policy_ids == null && output.dashboard_id == null
    error_message = "Nothing may be watched then."
  }
}

run "a_key_and_a_domain_of_ones_own_reach_every_part" {
  command = plan

  variables {
    kms_key_name = "projects/keys/locations/europe-west1/keyRings/speech/cryptoKeys/earwitness"
    api          = { custom_domain = "speech.example.com" }
  }

  assert {
    condition     = local.kms_key_name == var.kms_key_name && local.functions_kms_key_name == var.kms_key_name
    error_message = "Every part must be given the key."
  }
  assert {
    condition     = alltrue([for grant in google_kms_crypto_key_iam_member.agents : grant.role == "roles/cloudkms.cryptoKeyEncrypterDecrypter" && can(regex("^serviceAccount:service-123456789012@", grant.member))])
    error_message = "Only Google's agents of this project may use the key."
  }
  assert {
    condition     = contains(keys(google_project_service.apis), "cloudkms.googleapis.com")
    error_message = "A key needs its API."
  }
  assert {
    condition     = output.api_url == "https://speech.example.com"
    error_message = "The API must be known by its domain."
  }
  assert {
    condition     = contains(keys(google_project_service.apis), "compute.googleapis.com")
    error_message = "A load balancer needs its API."
  }
}

run "sweep_is_called_every_minute" {
  command = plan

  assert {
    condition     = google_cloud_scheduler_job.sweep.schedule == "* * * * *" && google_cloud_scheduler_job.sweep.attempt_deadline == "540s" && google_cloud_scheduler_job.sweep.http_target[0].http_method == "POST"
    error_message = "The schedule must be the contract's."
  }
}
