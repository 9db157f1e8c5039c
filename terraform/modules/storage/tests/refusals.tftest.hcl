provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project_id     = "test-project"
  project_number = "123456789012"
  location       = "europe-west1"
  uploads_name   = "test-project-uploads"
  results_name   = "test-project-results"
}

run "values_of_the_wrong_form_are_refused" {
  command = plan

  variables {
    project_id     = "Test_Project"
    project_number = "test-project"
    location       = "europe west"
    uploads_name   = "Uploads"
    labels         = { Team = "speech" }
    kms_key_name   = "data"
  }

  expect_failures = [var.project_id, var.project_number, var.location, var.uploads_name, var.labels, var.kms_key_name]
}

run "values_of_nearly_the_right_form_are_refused" {
  command = plan

  variables {
    uploads_name      = "google-uploads"
    labels            = { team = "speech and text" }
    kms_key_name      = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data/cryptoKeyVersions/1"
    soft_delete_days  = 91
    results_retention = { days = 24856 }
  }

  expect_failures = [var.uploads_name, var.labels, var.kms_key_name, var.soft_delete_days, var.results_retention]
}

run "days_that_are_too_few_are_refused" {
  command = plan

  variables {
    soft_delete_days    = 3
    uploads_expire_days = 0
    results_expire_days = 0
  }

  expect_failures = [var.soft_delete_days, var.uploads_expire_days, var.results_expire_days]
}

run "a_retention_time_of_nothing_is_refused" {
  command = plan

  variables {
    results_retention = { days = 0 }
  }

  expect_failures = [var.results_retention]
}

run "a_results_name_with_a_dot_is_refused" {
  command = plan

  variables {
    results_name = "results.example.com"
  }

  expect_failures = [var.results_name]
}

run "one_bucket_for_both_is_refused" {
  command = plan

  variables {
    results_name = "test-project-uploads"
  }

  expect_failures = [var.results_name]
}

run "an_origin_with_a_path_is_refused" {
  command = plan

  variables {
    cors = [{ origin = ["https://app.example.com/upload"], method = ["PUT"] }]
  }

  expect_failures = [var.cors]
}

run "a_rule_without_an_origin_is_refused" {
  command = plan

  variables {
    cors = [{ origin = [], method = ["PUT"] }]
  }

  expect_failures = [var.cors]
}

run "a_method_that_no_url_is_signed_for_is_refused" {
  command = plan

  variables {
    cors = [{ origin = ["*"], method = ["PUT", "DELETE"] }]
  }

  expect_failures = [var.cors]
}

run "a_preflight_answer_of_two_days_is_refused" {
  command = plan

  variables {
    cors = [{ origin = ["*"], method = ["PUT"], max_age_seconds = 172800 }]
  }

  expect_failures = [var.cors]
}

run "results_that_expire_while_they_are_held_are_refused" {
  command = plan

  variables {
    results_expire_days = 29
    results_retention   = { days = 30 }
  }

  expect_failures = [var.results_expire_days]
}

run "usage_logs_in_the_bucket_they_tell_of_are_refused" {
  command = plan

  variables {
    access_log_bucket = "test-project-uploads"
  }

  expect_failures = [var.access_log_bucket]
}
