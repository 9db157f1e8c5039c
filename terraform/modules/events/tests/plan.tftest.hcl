provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project_id           = "test-project"
  project_number       = "123456789012"
  region               = "europe-west1"
  push_service_account = "earwitness-pushes@test-project.iam.gserviceaccount.com"
  subscriptions = {
    orchestrate = {
      topic          = "events"
      push_endpoint  = "https://orchestrate.example.com"
      event_types    = ["media.validated", "stage.completed", "stage.failed", "job.retried", "job.canceled", "job.failed", "job.deleted"]
      ack_deadline_s = 600
      min_retry_s    = 1
      max_retry_s    = 60
    }
    notify = {
      topic                 = "events"
      push_endpoint         = "https://notify.example.com"
      ack_deadline_s        = 60
      min_retry_s           = 1
      max_retry_s           = 60
      max_delivery_attempts = 7
    }
    deliveries = {
      topic          = "deliveries"
      push_endpoint  = "https://notify.example.com"
      ack_deadline_s = 60
      min_retry_s    = 1
      max_retry_s    = 60
    }
    fetch_sources = {
      topic          = "events"
      push_endpoint  = "https://fetch.example.com"
      event_types    = ["job.created"]
      ack_deadline_s = 600
      min_retry_s    = 10
      max_retry_s    = 600
    }
  }
}

run "names_begin_with_the_prefix" {
  command = plan

  assert {
    condition     = [google_pubsub_topic.events.name, google_pubsub_topic.deliveries.name, google_pubsub_topic.dead_letters.name] == ["earwitness-events", "earwitness-deliveries", "earwitness-dead-letters"]
    error_message = "Topics must have the names that the functions' settings have by default."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.name == "earwitness-dead-letters"
    error_message = "The subscription must have the name that `earwitness dead-letters` looks for."
  }
  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => it.name } == { orchestrate = "earwitness-orchestrate", notify = "earwitness-notify", deliveries = "earwitness-deliveries", fetch_sources = "earwitness-fetch-sources" }
    error_message = "There must be one subscription of each given name, with dashes."
  }
}

run "another_prefix_names_everything" {
  command = plan

  variables {
    name_prefix = "staging"
    schema      = { type = "PROTOCOL_BUFFER", definition = "syntax = \"proto3\"; message Event { string id = 1; }" }
  }

  assert {
    condition = alltrue([for name in concat(
      [google_pubsub_topic.events.name, google_pubsub_topic.deliveries.name, google_pubsub_topic.dead_letters.name, google_pubsub_subscription.dead_letters.name, google_pubsub_schema.events[0].name],
      [for it in google_pubsub_subscription.push : it.name],
    ) : startswith(name, "staging-")])
    error_message = "Everything must begin with the prefix, so that two deployments fit in one project."
  }
}

run "messages_are_kept_in_one_region" {
  command = plan

  assert {
    condition = alltrue([
      for topic in [google_pubsub_topic.events, google_pubsub_topic.deliveries, google_pubsub_topic.dead_letters] :
      tolist(topic.message_storage_policy[0].allowed_persistence_regions) == tolist(["europe-west1"])
    ])
    error_message = "Every topic must keep messages in the region and nowhere else."
  }
  assert {
    condition     = google_pubsub_topic.events.message_retention_duration == "604800s"
    error_message = "Events must be kept for seven days, so that a subscription can go back."
  }
  assert {
    condition     = google_pubsub_topic.deliveries.message_retention_duration == null && google_pubsub_topic.dead_letters.message_retention_duration == null
    error_message = "Only the events topic must keep what was taken."
  }
}

run "each_subscription_gets_the_event_types_that_its_function_takes" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.push["orchestrate"].filter == "attributes.type = \"media.validated\" OR attributes.type = \"stage.completed\" OR attributes.type = \"stage.failed\" OR attributes.type = \"job.retried\" OR attributes.type = \"job.canceled\" OR attributes.type = \"job.failed\" OR attributes.type = \"job.deleted\""
    error_message = "orchestrate must get exactly its seven event types."
  }
  assert {
    condition     = google_pubsub_subscription.push["fetch_sources"].filter == "attributes.type = \"job.created\""
    error_message = "A single event type must be its own filter."
  }
  assert {
    condition     = google_pubsub_subscription.push["notify"].filter == null && google_pubsub_subscription.push["deliveries"].filter == null
    error_message = "Without event types there must be no filter."
  }
  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => it.topic } == { orchestrate = "projects/test-project/topics/earwitness-events", notify = "projects/test-project/topics/earwitness-events", deliveries = "projects/test-project/topics/earwitness-deliveries", fetch_sources = "projects/test-project/topics/earwitness-events" }
    error_message = "Each subscription must be of its own topic."
  }
}

run "messages_come_in_order_signed_in_and_to_the_function_alone" {
  command = plan

  assert {
    condition     = alltrue([for it in google_pubsub_subscription.push : it.enable_message_ordering])
    error_message = "Events of a job must come in order."
  }
  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => it.push_config[0].push_endpoint } == { orchestrate = "https://orchestrate.example.com", notify = "https://notify.example.com", deliveries = "https://notify.example.com", fetch_sources = "https://fetch.example.com" }
    error_message = "Each subscription must push to its own function."
  }
  assert {
    condition     = alltrue([for it in google_pubsub_subscription.push : it.push_config[0].oidc_token[0].service_account_email == "earwitness-pushes@test-project.iam.gserviceaccount.com"])
    error_message = "Every push must carry an identity token of the one caller."
  }
  assert {
    condition     = alltrue([for it in google_pubsub_subscription.push : it.push_config[0].oidc_token[0].audience == it.push_config[0].push_endpoint])
    error_message = "A token must be good for the function it is sent to and no other."
  }
}

run "what_fails_is_tried_again_with_pauses" {
  command = plan

  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => it.ack_deadline_seconds } == { orchestrate = 600, notify = 60, deliveries = 60, fetch_sources = 600 }
    error_message = "Each function must have its own time for a message."
  }
  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => "${it.retry_policy[0].minimum_backoff} ${it.retry_policy[0].maximum_backoff}" } == { orchestrate = "1s 60s", notify = "1s 60s", deliveries = "1s 60s", fetch_sources = "10s 600s" }
    error_message = "Each subscription must have the pauses that were given."
  }
  assert {
    condition     = alltrue([for it in google_pubsub_subscription.push : it.expiration_policy[0].ttl == ""])
    error_message = "A subscription must outlive months in which nobody uses it."
  }
}

run "what_no_function_takes_becomes_a_dead_letter" {
  command = plan

  assert {
    condition     = alltrue([for it in google_pubsub_subscription.push : it.dead_letter_policy[0].dead_letter_topic == "projects/test-project/topics/earwitness-dead-letters"])
    error_message = "Every subscription must give up messages to the topic of dead letters."
  }
  assert {
    condition     = { for key, it in google_pubsub_subscription.push : key => it.dead_letter_policy[0].max_delivery_attempts } == { orchestrate = 20, notify = 7, deliveries = 20, fetch_sources = 20 }
    error_message = "A message must be tried as often as was given, by default 20 times."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.topic == "projects/test-project/topics/earwitness-dead-letters"
    error_message = "A subscription must keep what reaches the topic of dead letters."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.message_retention_duration == "2678400s"
    error_message = "Dead letters must be kept for 31 days."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.expiration_policy[0].ttl == ""
    error_message = "The subscription of dead letters must never expire."
  }
  assert {
    condition     = length(google_pubsub_subscription.dead_letters.push_config) == 0 && length(google_pubsub_subscription.dead_letters.dead_letter_policy) == 0
    error_message = "Dead letters must wait to be read, and be given up to nobody."
  }
}

run "the_service_agent_may_make_dead_letters_and_nothing_more" {
  command = plan

  assert {
    condition     = google_pubsub_topic_iam_member.pubsub_agent_publishes_dead_letters.topic == "earwitness-dead-letters" && google_pubsub_topic_iam_member.pubsub_agent_publishes_dead_letters.role == "roles/pubsub.publisher"
    error_message = "The agent must be allowed to publish to the topic of dead letters alone."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.pubsub_agent_publishes_dead_letters.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "The grant must go to Pub/Sub's service agent of this project."
  }
  assert {
    condition     = { for key, grant in google_pubsub_subscription_iam_member.pubsub_agent_takes : key => grant.subscription } == { for key, it in google_pubsub_subscription.push : key => it.name }
    error_message = "The agent must be allowed to take messages off every push subscription: without that none is given up."
  }
  assert {
    condition     = alltrue([for grant in google_pubsub_subscription_iam_member.pubsub_agent_takes : grant.role == "roles/pubsub.subscriber"])
    error_message = "The agent must be a subscriber and nothing more."
  }
  assert {
    condition     = alltrue([for grant in google_pubsub_subscription_iam_member.pubsub_agent_takes : grant.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"])
    error_message = "The grants on subscriptions must go to Pub/Sub's service agent of this project."
  }
}

run "nothing_optional_is_there_by_default" {
  command = plan

  assert {
    condition     = length(google_pubsub_schema.events) == 0 && length(google_pubsub_topic.events.schema_settings) == 0 && output.schema == null
    error_message = "There must be no schema unless one is given."
  }
  assert {
    condition     = alltrue([for topic in [google_pubsub_topic.events, google_pubsub_topic.deliveries, google_pubsub_topic.dead_letters] : topic.kms_key_name == null]) && length(google_kms_crypto_key_iam_member.pubsub_agent) == 0
    error_message = "Without a key there must be none on a topic, and no grant on one."
  }
}

run "a_key_encrypts_every_topic_and_the_agent_may_use_it" {
  command = plan

  variables {
    kms_key_name = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data"
  }

  assert {
    condition     = alltrue([for topic in [google_pubsub_topic.events, google_pubsub_topic.deliveries, google_pubsub_topic.dead_letters] : topic.kms_key_name == "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data"])
    error_message = "Every topic must be encrypted with the key, that of dead letters too."
  }
  assert {
    condition     = [for grant in google_kms_crypto_key_iam_member.pubsub_agent : grant.role] == ["roles/cloudkms.cryptoKeyEncrypterDecrypter"]
    error_message = "The agent must be allowed to encrypt and decrypt with the key, and nothing more."
  }
  assert {
    condition     = google_kms_crypto_key_iam_member.pubsub_agent[0].crypto_key_id == "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data" && google_kms_crypto_key_iam_member.pubsub_agent[0].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "The grant must be on this key alone, and to Pub/Sub's service agent of this project."
  }
}

run "a_schema_checks_events_and_nothing_else" {
  command = plan

  variables {
    schema = { type = "PROTOCOL_BUFFER", definition = "syntax = \"proto3\"; message Event { string id = 1; }" }
  }

  assert {
    condition     = google_pubsub_schema.events[0].name == "earwitness-events" && google_pubsub_schema.events[0].type == "PROTOCOL_BUFFER" && google_pubsub_schema.events[0].definition == "syntax = \"proto3\"; message Event { string id = 1; }"
    error_message = "The schema must be the one that was given."
  }
  assert {
    condition     = google_pubsub_topic.events.schema_settings[0].schema == "projects/test-project/schemas/earwitness-events" && google_pubsub_topic.events.schema_settings[0].encoding == "JSON"
    error_message = "Events must be held against the schema, as JSON."
  }
  assert {
    condition     = length(google_pubsub_topic.deliveries.schema_settings) == 0 && length(google_pubsub_topic.dead_letters.schema_settings) == 0
    error_message = "Deliveries and dead letters are no events, and must have no schema."
  }
  assert {
    condition     = output.schema == "projects/test-project/schemas/earwitness-events"
    error_message = "schema must be the schema's path."
  }
}

run "labels_and_retention_are_as_given" {
  command = plan

  variables {
    labels                = { team = "speech" }
    message_retention     = "86400s"
    dead_letter_retention = "1209600s"
  }

  assert {
    condition     = alltrue([for it in [google_pubsub_topic.events, google_pubsub_topic.deliveries, google_pubsub_topic.dead_letters] : it.labels == tomap({ team = "speech" })])
    error_message = "Every topic must have the labels."
  }
  assert {
    condition     = alltrue([for it in concat(values(google_pubsub_subscription.push), [google_pubsub_subscription.dead_letters]) : it.labels == tomap({ team = "speech" })])
    error_message = "Every subscription must have the labels."
  }
  assert {
    condition     = google_pubsub_topic.events.message_retention_duration == "86400s" && google_pubsub_subscription.dead_letters.message_retention_duration == "1209600s"
    error_message = "Events and dead letters must be kept for the times given."
  }
}

run "outputs_are_paths_and_names" {
  command = plan

  assert {
    condition     = output.events_topic == { id = "projects/test-project/topics/earwitness-events", name = "earwitness-events" }
    error_message = "events_topic must be what integrators subscribe to."
  }
  assert {
    condition     = output.deliveries_topic == { id = "projects/test-project/topics/earwitness-deliveries", name = "earwitness-deliveries" }
    error_message = "deliveries_topic must be the topic of deliveries."
  }
  assert {
    condition     = output.dead_letters_topic == { id = "projects/test-project/topics/earwitness-dead-letters", name = "earwitness-dead-letters" }
    error_message = "dead_letters_topic must be the topic of dead letters."
  }
  assert {
    condition     = output.dead_letters_subscription == "earwitness-dead-letters"
    error_message = "dead_letters_subscription must be the name that tools read dead letters by."
  }
  assert {
    condition     = output.subscriptions == { orchestrate = "projects/test-project/subscriptions/earwitness-orchestrate", notify = "projects/test-project/subscriptions/earwitness-notify", deliveries = "projects/test-project/subscriptions/earwitness-deliveries", fetch_sources = "projects/test-project/subscriptions/earwitness-fetch-sources" }
    error_message = "subscriptions must name the path of each."
  }
}
