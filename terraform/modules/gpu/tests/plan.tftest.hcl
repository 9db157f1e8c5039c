provider "google" {
  project      = "acme-audio"
  access_token = "none"
}

variables {
  project_id  = "acme-audio"
  labels      = { team = "audio" }
  modal_token = { id = "ak-for-tests", secret = "as-for-tests" }
  report_keys = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"]
  accessors = {
    report_keys = {
      on_report   = "serviceAccount:earwitness-on-report@acme-audio.iam.gserviceaccount.com"
      orchestrate = "serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
    }
    modal_token_id     = { orchestrate = "serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com" }
    modal_token_secret = { orchestrate = "serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com" }
  }
}

run "given_values_become_secrets_of_the_project" {
  command = plan

  assert {
    condition = { for name, secret in google_secret_manager_secret.made : name => secret.secret_id } == {
      report_keys        = "earwitness-report-keys"
      modal_token_id     = "earwitness-modal-token-id"
      modal_token_secret = "earwitness-modal-token-secret"
    }
    error_message = "A secret is named prefix-name, with dashes."
  }
  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.made : secret.project == "acme-audio" && secret.labels == tomap({ team = "audio" })])
    error_message = "Secrets are the project's and have the caller's labels."
  }
  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.made : length(secret.replication[0].auto) == 1 && length(secret.replication[0].user_managed) == 0])
    error_message = "Without a key Google places them."
  }
  assert {
    condition     = keys(google_secret_manager_secret_version.made) == ["modal_token_id", "modal_token_secret", "report_keys"]
    error_message = "Each has a value."
  }
}

run "values_are_written_and_not_kept" {
  command = plan

  assert {
    condition     = alltrue([for version in google_secret_manager_secret_version.made : version.secret_data == null])
    error_message = "No value stands where the state would keep it."
  }
  assert {
    condition     = alltrue([for version in google_secret_manager_secret_version.made : tonumber(version.secret_data_wo_version) == 1])
    error_message = "Values are stored by their version."
  }
  assert {
    condition     = alltrue([for version in google_secret_manager_secret_version.made : version.deletion_policy == "DISABLE"])
    error_message = "A version that was replaced is not destroyed."
  }
}

run "a_raised_version_stores_new_values" {
  command = plan
  variables {
    values_version = 2
  }
  assert {
    condition     = alltrue([for version in google_secret_manager_secret_version.made : tonumber(version.secret_data_wo_version) == 2])
    error_message = "values_version reaches each secret."
  }
}

run "a_function_reads_what_it_was_listed_for_and_nothing_else" {
  command = plan

  assert {
    condition = { for key, grant in google_secret_manager_secret_iam_member.accessor : key => "${grant.secret_id} ${grant.member}" } == {
      "report_keys/on_report"          = "earwitness-report-keys serviceAccount:earwitness-on-report@acme-audio.iam.gserviceaccount.com"
      "report_keys/orchestrate"        = "earwitness-report-keys serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
      "modal_token_id/orchestrate"     = "earwitness-modal-token-id serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
      "modal_token_secret/orchestrate" = "earwitness-modal-token-secret serviceAccount:earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
    }
    error_message = "Grants are those listed."
  }
  assert {
    condition     = alltrue([for grant in google_secret_manager_secret_iam_member.accessor : grant.role == "roles/secretmanager.secretAccessor" && grant.project == "acme-audio"])
    error_message = "A function may read a secret, on that secret."
  }
}

run "existing_secrets_are_used_as_they_are" {
  command = plan
  variables {
    modal_token = null
    report_keys = null
    existing_secrets = {
      report_keys        = { secret_id = "report", version = "7" }
      modal_token_id     = { secret_id = "modal-id", version = "1", project_id = "acme-secrets" }
      modal_token_secret = { secret_id = "modal-secret", version = "2", project_id = "acme-secrets" }
    }
  }

  assert {
    condition     = length(google_secret_manager_secret.made) == 0 && length(google_secret_manager_secret_version.made) == 0
    error_message = "Nothing is made."
  }
  assert {
    condition = output.secrets == {
      report_keys        = { secret_id = "report", version = "7", project_id = "acme-audio" }
      modal_token_id     = { secret_id = "modal-id", version = "1", project_id = "acme-secrets" }
      modal_token_secret = { secret_id = "modal-secret", version = "2", project_id = "acme-secrets" }
    }
    error_message = "Functions are pointed to the given versions."
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.accessor["modal_token_id/orchestrate"].project == "acme-secrets" && google_secret_manager_secret_iam_member.accessor["modal_token_id/orchestrate"].secret_id == "modal-id"
    error_message = "The grant is on the existing secret, where it is."
  }
}

run "a_regional_key_keeps_secrets_in_its_region" {
  command = plan
  variables {
    kms_key_name = "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"
  }

  assert {
    condition = alltrue([for secret in google_secret_manager_secret.made : (
      length(secret.replication[0].auto) == 0 &&
      secret.replication[0].user_managed[0].replicas[0].location == "europe-west4" &&
      secret.replication[0].user_managed[0].replicas[0].customer_managed_encryption[0].kms_key_name == "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"
    )])
    error_message = "Secrets are encrypted with the key, where it is."
  }
}

run "a_global_key_leaves_the_place_to_google" {
  command = plan
  variables {
    kms_key_name = "projects/acme-keys/locations/global/keyRings/audio/cryptoKeys/main"
  }

  assert {
    condition = alltrue([for secret in google_secret_manager_secret.made : (
      length(secret.replication[0].user_managed) == 0 &&
      secret.replication[0].auto[0].customer_managed_encryption[0].kms_key_name == "projects/acme-keys/locations/global/keyRings/audio/cryptoKeys/main"
    )])
    error_message = "Secrets are encrypted with the key."
  }
}

run "gpu_jobs_are_deployed_elsewhere_by_default" {
  command = plan

  assert {
    condition     = length(terraform_data.deploy) == 0
    error_message = "Nothing is run on this machine."
  }
}

run "an_enabled_deployment_is_triggered_by_what_the_caller_says" {
  command = plan
  variables {
    deploy = {
      enabled     = true
      environment = { EARWITNESS_MODAL_ENVIRONMENT = "staging" }
      triggers    = { gpu_jobs = "0f1e2d" }
    }
  }

  assert {
    condition = terraform_data.deploy[0].triggers_replace == {
      command     = "earwitness gpu deploy"
      environment = tomap({ EARWITNESS_MODAL_ENVIRONMENT = "staging" })
      triggers    = tomap({ gpu_jobs = "0f1e2d" })
    }
    error_message = "It runs again when the command, its environment or a trigger changes."
  }
}
