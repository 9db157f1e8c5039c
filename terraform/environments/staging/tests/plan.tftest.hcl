provider "google" {
  project      = "test-project"
  access_token = "none"
}

override_data {
  target = data.google_project.this
  values = { number = "123456789012" }
}

variables {
  project_id  = "test-project"
  region      = "us-central1"
  bundles_dir = "../../modules/pipeline/tests/bundles"
  modal_token = { id = "ak-test", secret = "as-test" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
}

run "staging_is_planned_without_alerts" {
  command = plan

  assert {
    condition     = output.uploads_bucket == "test-project-earwitness-uploads"
    error_message = "Recordings must have a bucket."
  }
  assert {
    condition     = module.earwitness.alert_policy_ids == null
    error_message = "Nobody is to be told of staging."
  }
}

run "a_zone_is_no_region" {
  command = plan

  variables {
    region = "us-central1-a"
  }

  expect_failures = [var.region]
}
