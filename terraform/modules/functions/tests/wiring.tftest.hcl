# What is known only once something is made, and what a second apply would change.
mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/acme-audio/serviceAccounts/earwitness-build@acme-audio.iam.gserviceaccount.com"
      email  = "earwitness-build@acme-audio.iam.gserviceaccount.com"
      member = "serviceAccount:earwitness-build@acme-audio.iam.gserviceaccount.com"
    }
  }
}

variables {
  project_id     = "acme-audio"
  project_number = "123456789012"
  region         = "europe-west4"
  bundles_dir    = "tests/bundles"

  functions = {
    api = {
      entry_point = "api"
      runtime     = "python311"
      memory      = "512Mi"
      cpu         = "1"
      timeout_s   = 360
      concurrency = 80
      trigger     = "public_http"
    }
    on_report = {
      entry_point = "on_report"
      runtime     = "python311"
      memory      = "512Mi"
      cpu         = "1"
      timeout_s   = 60
      concurrency = 80
      trigger     = "public_http"
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
      trigger          = "http"
      needs_report_url = true
    }
  }
  service_accounts = {
    api         = "earwitness-api@acme-audio.iam.gserviceaccount.com"
    on_report   = "earwitness-on-report@acme-audio.iam.gserviceaccount.com"
    on_upload   = "earwitness-on-upload@acme-audio.iam.gserviceaccount.com"
    orchestrate = "earwitness-orchestrate@acme-audio.iam.gserviceaccount.com"
  }
  uploads_bucket                = "acme-audio-uploads"
  upload_events_service_account = "earwitness-uploads@acme-audio.iam.gserviceaccount.com"
}

run "first_deployment" {
  assert {
    condition     = google_cloudfunctions2_function.private["orchestrate"].service_config[0].environment_variables["EARWITNESS_REPORT_URL"] == output.urls["on_report"]
    error_message = "orchestrate tells GPU jobs where on_report answers."
  }
  assert {
    condition     = length(google_cloudfunctions2_function.private["on_upload"].service_config[0].environment_variables) == 0
    error_message = "on_upload needs no such address."
  }
  assert {
    condition     = output.public_url == output.urls["api"]
    error_message = "Without a domain clients use the API's own address."
  }
  assert {
    condition     = google_storage_bucket_object.source["api"].source == "tests/bundles/api.zip"
    error_message = "A bundle is uploaded from its folder."
  }
}

run "the_same_bundles_in_another_folder_change_nothing" {
  variables {
    bundles_dir = "./tests/bundles"
  }

  assert {
    condition     = output.sources == run.first_deployment.sources
    error_message = "No function gets another source."
  }
  assert {
    condition     = google_storage_bucket_object.source["api"].source == "tests/bundles/api.zip"
    error_message = "An object is not uploaded again because its file lies elsewhere."
  }
}

run "another_bundle_changes_its_function_alone" {
  variables {
    bundles_dir = "tests/changed"
  }

  assert {
    condition     = [for name, source in output.sources : name if source != run.first_deployment.sources[name]] == ["orchestrate"]
    error_message = "Only the changed bundle has another name."
  }
  assert {
    condition     = google_cloudfunctions2_function.private["orchestrate"].build_config[0].source[0].storage_source[0].object == output.sources["orchestrate"]
    error_message = "Its function is built from the new one."
  }
}
