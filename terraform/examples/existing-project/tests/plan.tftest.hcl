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
  api_callers = { gateway = "serviceAccount:gateway@test-project.iam.gserviceaccount.com" }
}

run "what_is_there_is_used_as_it_is" {
  command = plan

  assert {
    condition     = module.earwitness.database.name == "(default)"
    error_message = "The database that is there must be used."
  }
  assert {
    condition     = output.service_accounts["api"] == "earwitness-api@test-project.iam.gserviceaccount.com"
    error_message = "Functions must have accounts of their own here too."
  }
}

run "an_api_without_keys_is_not_for_everyone" {
  command = plan

  variables {
    api_callers = { all = "allUsers" }
  }

  expect_failures = [var.api_callers]
}
