provider "google" {
  project      = "acme-audio"
  access_token = "none"
}

# What only Google knows, so that a plan can be read without it.
override_resource {
  target          = google_service_account.build
  override_during = plan
  values = {
    name   = "projects/acme-audio/serviceAccounts/earwitness-build@acme-audio.iam.gserviceaccount.com"
    email  = "earwitness-build@acme-audio.iam.gserviceaccount.com"
    member = "serviceAccount:earwitness-build@acme-audio.iam.gserviceaccount.com"
  }
}

override_resource {
  target          = google_artifact_registry_repository.images
  override_during = plan
  values = {
    id = "projects/acme-audio/locations/europe-west4/repositories/earwitness-functions"
  }
}

variables {
  project_id     = "acme-audio"
  project_number = "123456789012"
  region         = "europe-west4"
  labels         = { team = "audio" }
  bundles_dir    = "tests/bundles"

  functions = {
    api = {
      entry_point   = "api"
      runtime       = "python311"
      memory        = "512Mi"
      cpu           = "1"
      timeout_s     = 360
      concurrency   = 80
      min_instances = 1
      max_instances = 100
      trigger       = "public_http"
    }
    on_report = {
      entry_point   = "on_report"
      runtime       = "python311"
      memory        = "512Mi"
      cpu           = "1"
      timeout_s     = 60
      concurrency   = 80
      max_instances = 100
      trigger       = "public_http"
      secrets       = ["report_keys", "modal_token_id", "modal_token_secret"]
    }
    on_upload = {
      entry_point = "on_upload"
      runtime     = "python311"
      memory      = "2Gi"
      cpu         = "1"
      timeout_s   = 120
      concurrency = 4
      trigger     = "finalize"
    }
    orchestrate = {
      entry_point      = "orchestrate"
      runtime          = "python311"
      memory           = "2Gi"
      cpu              = "1"
      timeout_s        = 540
      concurrency      = 1
      max_instances    = 100
      trigger          = "http"
      secrets          = ["report_keys", "modal_token_id", "modal_token_secret"]
      needs_report_url = true
    }
    sweep = {
      entry_point      = "sweep"
      runtime          = "python311"
      memory           = "2Gi"
      cpu              = "0.5"
      timeout_s        = 540
      concurrency      = 1
      max_instances    = 1
      trigger          = "http"
      secrets          = ["report_keys"]
      needs_report_url = true
    }
  }
  service_accounts = {
    api         = "earwitness-api@acme-audio.iam.gserviceaccount.com"
    on_report   = "earwitness-on-report@acme-audio.iam.gserviceaccount.com"
    on_upload   = "earwitness-on-upload@acme-audio.iam.gserviceaccount.com"
    orchestrate = "earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
    sweep       = "earwitness-sweep@acme-audio.iam.gserviceaccount.com"
  }
  settings = {
    EARWITNESS_CLOUD        = "google"
    EARWITNESS_PROJECT      = "acme-audio"
    EARWITNESS_AUTHENTICATE = "platform"
    EARWITNESS_LOG_FORMAT   = "json"
  }
  secrets = {
    report_keys        = { secret_id = "earwitness-report-keys", version = "3", project_id = "acme-audio" }
    modal_token_id     = { secret_id = "modal-id", version = "1", project_id = "acme-secrets" }
    modal_token_secret = { secret_id = "modal-secret", version = "2", project_id = "acme-secrets" }
  }
  uploads_bucket                = "acme-audio-uploads"
  upload_events_service_account = "earwitness-uploads@acme-audio.iam.gserviceaccount.com"
  invokers = {
    orchestrate = { pushes = "serviceAccount:earwitness-pushes@acme-audio.iam.gserviceaccount.com" }
    sweep       = { scheduler = "serviceAccount:earwitness-scheduler@acme-audio.iam.gserviceaccount.com" }
  }
}

run "names_and_labels_say_whose_they_are" {
  command = plan

  assert {
    condition = output.names == {
      api         = "earwitness-api"
      on_report   = "earwitness-on-report"
      on_upload   = "earwitness-on-upload"
      orchestrate = "earwitness-orchestrate"
      sweep       = "earwitness-sweep"
    }
    error_message = "A function is named prefix-name, with dashes."
  }
  assert {
    condition     = google_storage_bucket.sources.name == "acme-audio-earwitness-functions"
    error_message = "The bucket of sources is named after project and prefix."
  }
  assert {
    condition     = google_artifact_registry_repository.images.repository_id == "earwitness-functions"
    error_message = "The repository is named after the prefix."
  }
  assert {
    condition     = google_service_account.build.account_id == "earwitness-build"
    error_message = "The account that builds is named after the prefix."
  }
  assert {
    condition = alltrue(concat(
      [for function in local.deployed : function.labels == tomap({ team = "audio" })],
      [google_storage_bucket.sources.labels == tomap({ team = "audio" })],
      [google_artifact_registry_repository.images.labels == tomap({ team = "audio" })],
    ))
    error_message = "Everything that can have labels has the caller's."
  }
}

run "a_bundle_is_named_by_its_content_and_lies_where_nobody_sees_it" {
  command = plan

  assert {
    condition = output.sources == {
      for name in keys(var.functions) : name => "${name}-${substr(filesha256("tests/bundles/${name}.zip"), 0, 16)}.zip"
    }
    error_message = "An object's name holds the first 16 digits of its SHA-256."
  }
  assert {
    condition     = alltrue([for name, function in local.deployed : function.build_config[0].source[0].storage_source[0].object == output.sources[name]])
    error_message = "A function is built from the object of its own bundle."
  }
  assert {
    condition     = google_storage_bucket.sources.public_access_prevention == "enforced"
    error_message = "Public access prevention is enforced."
  }
  assert {
    condition     = google_storage_bucket.sources.uniform_bucket_level_access
    error_message = "Access is uniform."
  }
}

run "functions_get_what_they_were_given" {
  command = plan

  assert {
    condition = alltrue([for name, function in local.deployed : (
      function.service_config[0].available_memory == var.functions[name].memory &&
      function.service_config[0].available_cpu == var.functions[name].cpu &&
      function.service_config[0].timeout_seconds == var.functions[name].timeout_s &&
      function.service_config[0].max_instance_request_concurrency == var.functions[name].concurrency &&
      function.service_config[0].min_instance_count == var.functions[name].min_instances
    )])
    error_message = "Memory, cores, time limit, concurrency and instances are those of the variable."
  }
  assert {
    condition     = google_cloudfunctions2_function.private["sweep"].service_config[0].max_instance_count == 1
    error_message = "One sweep at a time."
  }
  assert {
    condition     = alltrue([for name, function in local.deployed : function.service_config[0].service_account_email == var.service_accounts[name]])
    error_message = "Each function runs as its own service account."
  }
  assert {
    condition     = length(distinct([for function in local.deployed : function.service_config[0].service_account_email])) == 5
    error_message = "No two functions run as the same service account."
  }
  assert {
    condition     = google_cloudfunctions2_function.public["api"].service_config[0].environment_variables == tomap(var.settings)
    error_message = "A function's environment holds the settings and nothing else."
  }
}

run "secrets_are_pinned_and_given_to_those_that_ask" {
  command = plan

  assert {
    condition = [for secret in google_cloudfunctions2_function.private["orchestrate"].service_config[0].secret_environment_variables :
      "${secret.key}=${secret.project_id}/${secret.secret}:${secret.version}"
      ] == [
      "EARWITNESS_REPORT_KEYS=acme-audio/earwitness-report-keys:3",
      "MODAL_TOKEN_ID=acme-secrets/modal-id:1",
      "MODAL_TOKEN_SECRET=acme-secrets/modal-secret:2",
    ]
    error_message = "orchestrate reads all three secrets, each at its version."
  }
  assert {
    condition     = [for secret in google_cloudfunctions2_function.private["sweep"].service_config[0].secret_environment_variables : secret.key] == ["EARWITNESS_REPORT_KEYS"]
    error_message = "sweep asked for the report keys alone."
  }
  assert {
    condition     = [for secret in google_cloudfunctions2_function.public["on_report"].service_config[0].secret_environment_variables : secret.version] == ["3", "1", "2"]
    error_message = "A public function reads its secrets at their versions, too."
  }
  assert {
    condition     = length(google_cloudfunctions2_function.public["api"].service_config[0].secret_environment_variables) == 0
    error_message = "The API gets no secret."
  }
}

run "uploads_are_delivered_again_until_they_were_taken" {
  command = plan

  assert {
    condition     = google_cloudfunctions2_function.private["on_upload"].event_trigger[0].retry_policy == "RETRY_POLICY_RETRY"
    error_message = "The storage trigger retries."
  }
  assert {
    condition     = google_cloudfunctions2_function.private["on_upload"].event_trigger[0].event_type == "google.cloud.storage.object.v1.finalized"
    error_message = "The trigger is an object's finalize event."
  }
  assert {
    condition     = tolist(google_cloudfunctions2_function.private["on_upload"].event_trigger[0].event_filters)[0].value == "acme-audio-uploads"
    error_message = "Only the uploads bucket triggers it."
  }
  assert {
    condition     = google_cloudfunctions2_function.private["on_upload"].event_trigger[0].service_account_email == "earwitness-uploads@acme-audio.iam.gserviceaccount.com"
    error_message = "Eventarc calls as the account for uploads."
  }
  assert {
    condition     = google_cloudfunctions2_function.private["on_upload"].event_trigger[0].trigger_region == "europe-west4"
    error_message = "The trigger is where the bucket is."
  }
  assert {
    condition     = length(google_cloudfunctions2_function.private["orchestrate"].event_trigger) == 0
    error_message = "No other function has a trigger of its own."
  }
}

run "the_trigger_follows_a_bucket_in_more_than_one_region" {
  command = plan
  variables {
    uploads_location = "EU"
  }
  assert {
    condition     = google_cloudfunctions2_function.private["on_upload"].event_trigger[0].trigger_region == "eu"
    error_message = "The trigger of a multi-region bucket is in that multi-region."
  }
}

run "private_functions_are_reached_from_google_only" {
  command = plan

  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.private : function.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"])
    error_message = "What only Google calls takes internal requests only."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.public : function.service_config[0].ingress_settings == "ALLOW_ALL"])
    error_message = "Public functions are reached from the internet."
  }
  assert {
    condition     = alltrue([for function in local.deployed : function.service_config[0].vpc_connector_egress_settings == null])
    error_message = "Without a connector there are no egress settings."
  }
}

run "on_report_stays_open_where_the_api_is_behind_a_load_balancer" {
  command = plan
  variables {
    network = {
      vpc_connector           = "projects/acme-audio/locations/europe-west4/connectors/main"
      egress_settings         = "ALL_TRAFFIC"
      public_ingress_settings = "ALLOW_INTERNAL_AND_GCLB"
    }
    public_url = "https://audio.example.com"
  }

  assert {
    condition     = google_cloudfunctions2_function.public["api"].service_config[0].ingress_settings == "ALLOW_INTERNAL_AND_GCLB"
    error_message = "The API is reached through the load balancer only."
  }
  assert {
    condition     = google_cloudfunctions2_function.public["on_report"].service_config[0].ingress_settings == "ALLOW_ALL"
    error_message = "GPU jobs still reach on_report."
  }
  assert {
    condition = alltrue([for function in local.deployed : (
      function.service_config[0].vpc_connector == "projects/acme-audio/locations/europe-west4/connectors/main" &&
      function.service_config[0].vpc_connector_egress_settings == "ALL_TRAFFIC"
    )])
    error_message = "Every function goes out by the connector."
  }
  assert {
    condition     = google_cloudfunctions2_function.public["api"].service_config[0].environment_variables["EARWITNESS_PUBLIC_URL"] == "https://audio.example.com"
    error_message = "The API knows its address."
  }
  assert {
    condition     = !contains(keys(google_cloudfunctions2_function.public["on_report"].service_config[0].environment_variables), "EARWITNESS_PUBLIC_URL")
    error_message = "Nobody else is given it."
  }
  assert {
    condition     = output.public_url == "https://audio.example.com"
    error_message = "The output is the given address."
  }
}

run "only_those_may_call_that_were_named" {
  command = plan

  assert {
    condition = { for key, grant in google_cloud_run_v2_service_iam_member.invoker : key => "${grant.name} ${grant.role} ${grant.member}" } == {
      "orchestrate/pushes"      = "earwitness-orchestrate roles/run.invoker serviceAccount:earwitness-pushes@acme-audio.iam.gserviceaccount.com"
      "sweep/scheduler"         = "earwitness-sweep roles/run.invoker serviceAccount:earwitness-scheduler@acme-audio.iam.gserviceaccount.com"
      "on_upload/upload-events" = "earwitness-on-upload roles/run.invoker serviceAccount:earwitness-uploads@acme-audio.iam.gserviceaccount.com"
    }
    error_message = "Callers are those named, and Eventarc for uploads."
  }
  assert {
    condition     = { for key, grant in google_cloud_run_v2_service_iam_member.anyone : key => "${grant.name} ${grant.member}" } == { api = "earwitness-api allUsers", on_report = "earwitness-on-report allUsers" }
    error_message = "Only the API and on_report are open to anyone."
  }
}

run "an_api_behind_iam_is_not_open_to_anyone" {
  command = plan
  variables {
    public_functions = ["on_report"]
    invokers         = { api = { gateway = "serviceAccount:gateway@acme-audio.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.anyone) == ["on_report"]
    error_message = "The API is not public."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.invoker["api/gateway"].member == "serviceAccount:gateway@acme-audio.iam.gserviceaccount.com"
    error_message = "The gateway may call it."
  }
}

run "builds_may_do_four_things_and_their_last_images_stay" {
  command = plan

  assert {
    condition     = google_artifact_registry_repository_iam_member.build.role == "roles/artifactregistry.writer" && google_artifact_registry_repository_iam_member.build.repository == "earwitness-functions"
    error_message = "A build writes to the repository."
  }
  assert {
    condition     = google_storage_bucket_iam_member.build.role == "roles/storage.objectViewer" && google_storage_bucket_iam_member.build.bucket == "acme-audio-earwitness-functions"
    error_message = "A build reads the bucket of sources."
  }
  assert {
    condition     = google_project_iam_member.build_copies.role == "roles/storage.objectViewer"
    error_message = "A build reads Google's copies."
  }
  assert {
    condition     = google_project_iam_member.build_copies.condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-123456789012-europe-west4\")"
    error_message = "It reads no other bucket of the project."
  }
  assert {
    condition     = google_project_iam_member.build_logs.role == "roles/logging.logWriter"
    error_message = "A build writes its log."
  }
  assert {
    condition = alltrue([for member in [
      google_artifact_registry_repository_iam_member.build.member, google_storage_bucket_iam_member.build.member,
      google_project_iam_member.build_copies.member, google_project_iam_member.build_logs.member,
    ] : member == "serviceAccount:earwitness-build@acme-audio.iam.gserviceaccount.com"])
    error_message = "All four are granted to the account that builds."
  }
  assert {
    condition = alltrue([for function in local.deployed : (
      function.build_config[0].service_account == "projects/acme-audio/serviceAccounts/earwitness-build@acme-audio.iam.gserviceaccount.com" &&
      function.build_config[0].docker_repository == "projects/acme-audio/locations/europe-west4/repositories/earwitness-functions"
    )])
    error_message = "Every function is built by it, into the repository."
  }
  assert {
    condition = { for policy in google_artifact_registry_repository.images.cleanup_policies : policy.id => policy.action } == {
      "keep-last" = "KEEP", "delete-old" = "DELETE"
    }
    error_message = "Old images are deleted, the last ones kept."
  }
}

run "one_key_encrypts_everything" {
  command = plan
  variables {
    kms_key_name = "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"
  }

  assert {
    condition     = alltrue([for function in local.deployed : function.kms_key_name == "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"])
    error_message = "Functions are encrypted with the key."
  }
  assert {
    condition     = google_storage_bucket.sources.encryption[0].default_kms_key_name == "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"
    error_message = "Sources are encrypted with the key."
  }
  assert {
    condition     = google_artifact_registry_repository.images.kms_key_name == "projects/acme-keys/locations/europe-west4/keyRings/audio/cryptoKeys/main"
    error_message = "Images are encrypted with the same key, as Google demands."
  }
}
