provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project_id           = "test-project"
  project_number       = "123456789012"
  region               = "europe-west1"
  push_service_account = "earwitness-pushes@test-project.iam.gserviceaccount.com"
  subscriptions        = {}
}

run "values_of_the_wrong_form_are_refused" {
  command = plan

  variables {
    project_id            = "Test_Project"
    project_number        = "test-project"
    region                = "EU"
    name_prefix           = "Earwitness_"
    labels                = { Team = "speech" }
    kms_key_name          = "data"
    schema                = { type = "JSON", definition = "{}" }
    push_service_account  = "serviceAccount:earwitness-pushes@test-project.iam.gserviceaccount.com"
    message_retention     = "7d"
    dead_letter_retention = "31d"
  }

  expect_failures = [var.project_id, var.project_number, var.region, var.name_prefix, var.labels, var.kms_key_name, var.schema, var.push_service_account, var.message_retention, var.dead_letter_retention]
}

run "values_of_nearly_the_right_form_are_refused" {
  command = plan

  variables {
    region                = "europe-west1-b"
    name_prefix           = "google"
    labels                = { team = "speech and text" }
    kms_key_name          = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data/cryptoKeyVersions/1"
    schema                = { type = "AVRO", definition = " " }
    push_service_account  = "someone@example.com"
    message_retention     = "599s"
    dead_letter_retention = "2678401s"
  }

  expect_failures = [var.region, var.name_prefix, var.labels, var.kms_key_name, var.schema, var.push_service_account, var.message_retention, var.dead_letter_retention]
}

run "a_schema_that_imports_is_refused" {
  command = plan

  variables {
    schema = { type = "PROTOCOL_BUFFER", definition = "syntax = \"proto3\";\nimport \"google/protobuf/struct.proto\";\nmessage Event { google.protobuf.Struct data = 1; }" }
  }

  expect_failures = [var.schema]
}

run "a_subscription_in_the_place_of_the_dead_letters_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "dead_letters" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_subscription_with_a_space_in_its_name_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify all" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_topic_that_is_not_there_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "jobs", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_push_without_tls_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "http://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "an_event_type_that_would_be_more_than_a_type_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60, event_types = ["job.created\" OR attributes:type"] }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_filter_of_more_than_256_bytes_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60, event_types = ["job.canceled", "job.completed", "job.created", "job.deleted", "job.failed", "job.retried", "media.validated", "stage.completed"] }
    }
  }

  expect_failures = [var.subscriptions]
}

run "an_ack_deadline_of_less_than_ten_seconds_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 9, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "an_ack_deadline_of_more_than_ten_minutes_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 601, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_pause_of_more_than_ten_minutes_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 601 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "a_shortest_pause_that_is_the_longer_one_is_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 61, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "fewer_than_five_tries_are_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60, max_delivery_attempts = 4 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "more_than_a_hundred_tries_are_refused" {
  command = plan

  variables {
    subscriptions = {
      "notify" = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60, max_delivery_attempts = 101 }
    }
  }

  expect_failures = [var.subscriptions]
}

run "two_subscriptions_of_one_name_are_refused" {
  command = plan

  variables {
    subscriptions = {
      find_out = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
      find-out = { topic = "events", push_endpoint = "https://notify.example.com", ack_deadline_s = 60, min_retry_s = 1, max_retry_s = 60 }
    }
  }

  expect_failures = [var.subscriptions]
}
