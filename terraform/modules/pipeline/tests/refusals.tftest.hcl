# What is refused, each by the name of its variable. A run has one mistake a variable.

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

run "names_that_google_would_refuse" {
  command = plan

  variables {
    project     = { id = "My Project", number = "123456789012" }
    region      = "europe-west1-b"
    name_prefix = "earwitness-of-everyone"
    firestore   = { database = "projects/p/databases/d" }
  }

  expect_failures = [var.project, var.region, var.name_prefix, var.firestore]
}

run "what_this_version_does_not_know" {
  command = plan

  variables {
    settings    = { EARWITNESS_RETENTION_DAY = "30" }
    functions   = { transcribe = { memory = "1Gi" } }
    bundles_dir = "tests"
    api         = { access = "none" }
    project     = { id = "test-project", number = "test-project" }
  }

  expect_failures = [var.settings, var.functions, var.bundles_dir, var.api, var.project]
}

run "settings_that_follow_from_resources_and_an_api_that_nobody_checks" {
  command = plan

  variables {
    settings     = { EARWITNESS_EVENTS_TOPIC = "other" }
    api          = { access = "platform", is_public = true }
    kms_key_name = "projects/keys/locations/us-central1/keyRings/speech/cryptoKeys/earwitness"
  }

  expect_failures = [var.settings, var.api, var.kms_key_name]
}

run "settings_that_would_let_others_in_and_everyone_as_a_caller" {
  command = plan

  variables {
    settings     = { EARWITNESS_CALLERS = "someone@example.com" }
    api          = { callers = { all = "allUsers" } }
    kms_key_name = "projects/keys/locations/europe-west1/keyRings/speech/cryptoKeys/earwitness/cryptoKeyVersions/1"
  }

  expect_failures = [var.settings, var.api, var.kms_key_name]
}

run "a_secret_among_the_settings_and_a_key_where_buckets_are_elsewhere" {
  command = plan

  variables {
    settings     = { EARWITNESS_METRICS_TOKEN = "secret" }
    kms_key_name = "projects/keys/locations/europe-west1/keyRings/speech/cryptoKeys/earwitness"
    buckets      = { location = "EU" }
  }

  expect_failures = [var.settings, var.kms_key_name]
}
