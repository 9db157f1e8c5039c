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
  bundles_dir = "../../modules/pipeline/tests/bundles"
  modal_token = { id = "ak-test", secret = "as-test" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
}

run "a_project_and_two_secrets_are_enough" {
  command = plan

  assert {
    condition     = output.uploads_bucket == "test-project-earwitness-uploads"
    error_message = "Recordings must have a bucket."
  }
  assert {
    condition     = length(distinct(values(module.earwitness.service_accounts))) == 10
    error_message = "Seven functions and three callers must have an account each."
  }
  assert {
    condition     = module.earwitness.alert_policy_ids != null
    error_message = "Alerts must be there without being asked for."
  }
}
