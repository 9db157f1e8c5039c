provider "google" {
  project      = "test-project"
  access_token = "none"
}

override_data {
  target = data.google_project.this
  values = { number = "123456789012" }
}

variables {
  project_id   = "test-project"
  region       = "us-central1"
  bundles_dir  = "../../modules/pipeline/tests/bundles"
  modal_token  = { id = "ak-test", secret = "as-test" }
  report_keys  = ["0123456789abcdef0123456789abcdef"]
  alert_emails = ["oncall@example.com"]
}

run "production_is_planned_and_tells_someone" {
  command = plan

  assert {
    condition     = { for address, channel in google_monitoring_notification_channel.emails : address => channel.labels.email_address } == { "oncall@example.com" = "oncall@example.com" }
    error_message = "Each address must be told."
  }
  assert {
    condition     = module.earwitness.alert_policy_ids != null
    error_message = "There must be something to tell."
  }
}

run "production_without_anyone_to_tell" {
  command = plan

  variables {
    alert_emails = []
    project_id   = "My Project"
  }

  expect_failures = [var.alert_emails, var.project_id]
}
