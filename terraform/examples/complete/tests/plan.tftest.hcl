provider "google" {
  project      = "test-project"
  access_token = "none"
}

override_data {
  target = data.google_project.this
  values = { number = "123456789012" }
}

variables {
  project_id        = "test-project"
  bundles_dir       = "../../modules/pipeline/tests/bundles"
  modal_token       = { id = "ak-test", secret = "as-test" }
  report_keys       = ["0123456789abcdef0123456789abcdef"]
  kms_key_name      = "projects/keys/locations/europe-west1/keyRings/speech/cryptoKeys/earwitness"
  vpc_connector     = "projects/test-project/locations/europe-west1/connectors/speech"
  domain            = "example.com"
  archive_bucket    = "example-archive"
  access_log_bucket = "example-access-logs"
  oncall_email      = "oncall@example.com"
  billing_account   = "012345-6789AB-CDEF01"
}

run "everything_that_can_be_chosen_is_planned" {
  command = plan

  assert {
    condition     = output.api_url == "https://speech.example.com"
    error_message = "The API must be reached under its domain."
  }
  assert {
    condition     = output.events_topic == "projects/test-project/topics/speech-events" && output.dead_letters_subscription == "speech-dead-letters"
    error_message = "Names must begin with the prefix."
  }
  assert {
    condition     = module.earwitness.database.name == "speech"
    error_message = "The database must be one of its own."
  }
}
