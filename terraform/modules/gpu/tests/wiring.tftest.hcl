# What is known only once something is made.
mock_provider "google" {}

variables {
  project_id  = "acme-audio"
  modal_token = { id = "ak-for-tests", secret = "as-for-tests" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
  accessors   = { report_keys = { sweep = "serviceAccount:earwitness-sweep@acme-audio.iam.gserviceaccount.com" } }
}

run "functions_are_pointed_to_the_version_that_was_stored" {
  assert {
    condition     = alltrue([for name, secret in output.secrets : secret.version == google_secret_manager_secret_version.made[name].version])
    error_message = "The version is a number that Google gave, never the latest."
  }
  assert {
    condition     = keys(output.secrets) == ["modal_token_id", "modal_token_secret", "report_keys"]
    error_message = "All three secrets are there."
  }
}

run "the_deployment_runs_with_its_environment" {
  variables {
    deploy = {
      enabled     = true
      command     = "test \"$EARWITNESS_MODAL_ENVIRONMENT\" = staging"
      environment = { EARWITNESS_MODAL_ENVIRONMENT = "staging" }
    }
  }

  assert {
    condition     = length(terraform_data.deploy) == 1
    error_message = "The command ran, and found its environment."
  }
}
