# What Pub/Sub and Eventarc are told of the contract: nothing may be lost, and nobody gets what it cannot use.

provider "google" {
  project      = "test-project"
  access_token = "none"
}

run "no_subscription_loses_a_message" {
  command = plan

  module {
    source = "../events"
  }

  variables {
    project_id           = "test-project"
    project_number       = "123456789012"
    region               = "europe-west1"
    push_service_account = "earwitness-pushes@test-project.iam.gserviceaccount.com"
    schema               = jsondecode(file("contract.tfvars.json")).contract.events_schema
    subscriptions = {
      for name, row in jsondecode(file("contract.tfvars.json")).contract.subscriptions : name => merge(row, { push_endpoint = "https://${row.function}.example.com" })
    }
  }

  assert {
    condition     = tolist(keys(google_pubsub_subscription.push)) == tolist(["deliveries", "fetch", "notify", "orchestrate"])
    error_message = "All of the contract's subscriptions must be there."
  }
  assert {
    condition     = alltrue([for row in google_pubsub_subscription.push : endswith(row.dead_letter_policy[0].dead_letter_topic, "/topics/earwitness-dead-letters") && row.dead_letter_policy[0].max_delivery_attempts == 20])
    error_message = "What a function would not take 20 times must become a dead letter."
  }
  assert {
    condition     = alltrue([for row in google_pubsub_subscription.push : length(row.retry_policy) == 1 && row.expiration_policy[0].ttl == ""])
    error_message = "Deliveries must be tried again with pauses, by subscriptions that never expire."
  }
  assert {
    condition     = tolist(keys(google_pubsub_subscription_iam_member.pubsub_agent_takes)) == tolist(keys(google_pubsub_subscription.push))
    error_message = "Pub/Sub must be able to make dead letters of every subscription's messages."
  }
}

run "filters_and_limits_are_the_contracts" {
  command = plan

  module {
    source = "../events"
  }

  variables {
    project_id           = "test-project"
    project_number       = "123456789012"
    region               = "europe-west1"
    push_service_account = "earwitness-pushes@test-project.iam.gserviceaccount.com"
    subscriptions = {
      for name, row in jsondecode(file("contract.tfvars.json")).contract.subscriptions : name => merge(row, { push_endpoint = "https://${row.function}.example.com" })
    }
  }

  assert {
    condition = { for name, row in google_pubsub_subscription.push : name => row.filter == null ? "" : row.filter } == {
      deliveries  = ""
      fetch       = "attributes.type = \"job.created\""
      notify      = ""
      orchestrate = "attributes.type = \"job.canceled\" OR attributes.type = \"job.deleted\" OR attributes.type = \"job.failed\" OR attributes.type = \"job.retried\" OR attributes.type = \"media.validated\" OR attributes.type = \"stage.completed\" OR attributes.type = \"stage.failed\""
    }
    error_message = "Each function must get the events that it handles, and no others."
  }
  assert {
    condition     = { for name, row in google_pubsub_subscription.push : name => row.ack_deadline_seconds } == { deliveries = 60, fetch = 600, notify = 60, orchestrate = 600 }
    error_message = "A function must have the time that it needs."
  }
  assert {
    condition     = { for name, row in google_pubsub_subscription.push : name => "${row.retry_policy[0].minimum_backoff}-${row.retry_policy[0].maximum_backoff}" } == { deliveries = "1s-60s", fetch = "10s-600s", notify = "1s-60s", orchestrate = "1s-60s" }
    error_message = "Pauses between deliveries must be the contract's."
  }
}

run "an_upload_that_was_not_taken_comes_again" {
  command = plan

  module {
    source = "../functions"
  }

  variables {
    project_id                    = "test-project"
    project_number                = "123456789012"
    region                        = "europe-west1"
    bundles_dir                   = "tests/bundles"
    functions                     = jsondecode(file("contract.tfvars.json")).contract.functions
    service_accounts              = { for name in keys(jsondecode(file("contract.tfvars.json")).contract.functions) : name => "earwitness-${replace(name, "_", "-")}@test-project.iam.gserviceaccount.com" }
    secrets                       = { for name in ["report_keys", "modal_token_id", "modal_token_secret"] : name => { secret_id = "earwitness-${name}", version = "1", project_id = "test-project" } }
    settings                      = {}
    uploads_bucket                = "test-project-earwitness-uploads"
    upload_events_service_account = "earwitness-uploads@test-project.iam.gserviceaccount.com"
  }

  assert {
    condition     = one(google_cloudfunctions2_function.private["on_upload"].event_trigger).retry_policy == "RETRY_POLICY_RETRY"
    error_message = "An upload that on_upload could not take must be told again."
  }
  assert {
    condition     = tolist(keys(google_cloudfunctions2_function.public)) == tolist(["api", "on_report"])
    error_message = "Only the API and on_report are called from outside."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.private : function.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"])
    error_message = "What is not public must take calls from within alone."
  }
}
