# Each mistake is refused by the variable's name.
mock_provider "google" {}

variables {
  project_id  = "acme-audio"
  modal_token = { id = "ak-for-tests", secret = "as-for-tests" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
}

run "what_has_another_form_is_refused" {
  command = plan
  variables {
    name_prefix    = "9lives"
    kms_key_name   = "main"
    modal_token    = { id = "ak-for-tests", secret = "" }
    values_version = 0
    accessors      = { report_keys = { me = "user:ada@example.com" } }
    deploy         = { environment = { MODAL_TOKEN_SECRET = "as-for-tests" } }
  }
  expect_failures = [
    var.name_prefix, var.kms_key_name, var.modal_token, var.values_version, var.accessors, var.deploy,
  ]
}

run "a_short_report_key_is_refused" {
  command = plan
  variables {
    report_keys = ["0123456789abcdef0123456789abcdef", "short"]
  }
  expect_failures = [var.report_keys]
}

run "a_report_key_with_a_comma_is_refused" {
  command = plan
  variables {
    report_keys = ["0123456789abcdef,0123456789abcdef"]
  }
  expect_failures = [var.report_keys]
}

run "no_report_key_is_refused" {
  command = plan
  variables {
    report_keys = []
  }
  expect_failures = [var.report_keys]
}

run "readers_of_a_secret_that_does_not_exist_are_refused" {
  command = plan
  variables {
    accessors = { modal_token = { api = "serviceAccount:api@acme-audio.iam.gserviceaccount.com" } }
  }
  expect_failures = [var.accessors]
}

run "an_existing_secret_of_another_kind_is_refused" {
  command = plan
  variables {
    existing_secrets = { webhook_key = { secret_id = "webhooks", version = "1" } }
  }
  expect_failures = [var.existing_secrets]
}

run "the_latest_version_is_refused" {
  command = plan
  variables {
    report_keys      = null
    existing_secrets = { report_keys = { secret_id = "report", version = "latest" } }
  }
  expect_failures = [var.existing_secrets]
}

run "report_keys_given_twice_are_refused" {
  command = plan
  variables {
    existing_secrets = { report_keys = { secret_id = "report", version = "1" } }
  }
  expect_failures = [var.existing_secrets]
}

run "half_a_modal_token_is_refused" {
  command = plan
  variables {
    modal_token      = null
    existing_secrets = { modal_token_id = { secret_id = "modal-id", version = "1" } }
  }
  expect_failures = [var.existing_secrets]
}
