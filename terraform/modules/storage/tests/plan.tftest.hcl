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

run "both_buckets_are_closed_and_guarded" {
  command = plan

  assert {
    condition     = { for key, bucket in google_storage_bucket.main : key => bucket.name } == { uploads = "test-project-uploads", results = "test-project-results" }
    error_message = "There must be exactly the two buckets, under the given names."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.project == "test-project" && bucket.location == "europe-west1"])
    error_message = "Both buckets must be in the given project and location."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.uniform_bucket_level_access])
    error_message = "Both buckets must take no ACLs."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.public_access_prevention == "enforced"])
    error_message = "Neither bucket may ever be public."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.soft_delete_policy[0].retention_duration_seconds == 604800])
    error_message = "Deleted objects must be kept for seven days."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.force_destroy == false])
    error_message = "A bucket that holds anything must not be destroyed."
  }
}

run "only_uploads_that_were_never_completed_are_dropped_by_age" {
  command = plan

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : length(bucket.lifecycle_rule) == 1])
    error_message = "Nothing else may expire by default."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : one(bucket.lifecycle_rule[0].action).type == "AbortIncompleteMultipartUpload"])
    error_message = "The parts of uploads that were never completed must be dropped."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : one(bucket.lifecycle_rule[0].condition).age == 7])
    error_message = "An upload has seven days to be completed."
  }
}

run "nothing_optional_is_there_by_default" {
  command = plan

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : length(bucket.cors) == 0])
    error_message = "No page may use a bucket unless it is named."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : length(bucket.retention_policy) == 0])
    error_message = "There must be no retention time unless one is given."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : length(bucket.encryption) == 0]) && length(google_kms_crypto_key_iam_member.storage_agent) == 0
    error_message = "Without a key there must be no encryption block and no grant on a key."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : length(bucket.logging) == 0])
    error_message = "There must be no usage logs unless a bucket for them is given."
  }
}

run "the_service_agent_may_publish_and_nothing_more" {
  command = plan

  assert {
    condition     = google_project_iam_member.storage_agent_publishes.role == "roles/pubsub.publisher"
    error_message = "Eventarc needs the service agent to publish; nothing else is needed."
  }
  assert {
    condition     = google_project_iam_member.storage_agent_publishes.member == "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    error_message = "The grant must go to Cloud Storage's service agent of this project."
  }
  assert {
    condition     = google_project_iam_member.storage_agent_publishes.project == "test-project"
    error_message = "The grant must be on this project."
  }
}

run "outputs_name_the_buckets" {
  command = plan

  assert {
    condition     = output.uploads.name == "test-project-uploads" && output.uploads.url == "gs://test-project-uploads"
    error_message = "uploads must name the bucket and its address."
  }
  assert {
    condition     = output.results.name == "test-project-results" && output.results.url == "gs://test-project-results"
    error_message = "results must name the bucket and its address."
  }
}

run "pages_reach_the_uploads_bucket_alone" {
  command = plan

  variables {
    cors = [{
      origin          = ["https://app.example.com", "http://localhost:3000"]
      method          = ["PUT", "POST"]
      response_header = ["location", "x-goog-resumable"]
      max_age_seconds = 600
    }]
  }

  assert {
    condition     = length(google_storage_bucket.main["uploads"].cors) == 1 && length(google_storage_bucket.main["results"].cors) == 0
    error_message = "The rule must be on the uploads bucket and nowhere else."
  }
  assert {
    condition     = tolist(google_storage_bucket.main["uploads"].cors[0].origin) == tolist(["https://app.example.com", "http://localhost:3000"])
    error_message = "The origins must be those given."
  }
  assert {
    condition     = tolist(google_storage_bucket.main["uploads"].cors[0].method) == tolist(["PUT", "POST"])
    error_message = "The methods must be those given."
  }
  assert {
    condition     = tolist(google_storage_bucket.main["uploads"].cors[0].response_header) == tolist(["location", "x-goog-resumable"])
    error_message = "The readable headers must be those given."
  }
  assert {
    condition     = google_storage_bucket.main["uploads"].cors[0].max_age_seconds == 600
    error_message = "The answer to a preflight request must be good for the time given."
  }
}

run "a_key_encrypts_both_buckets_and_the_agent_may_use_it" {
  command = plan

  variables {
    kms_key_name = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data"
  }

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.encryption[0].default_kms_key_name == "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data"])
    error_message = "Both buckets must be encrypted with the key."
  }
  assert {
    condition     = [for grant in google_kms_crypto_key_iam_member.storage_agent : grant.role] == ["roles/cloudkms.cryptoKeyEncrypterDecrypter"]
    error_message = "The agent must be allowed to encrypt and decrypt with the key, and nothing more."
  }
  assert {
    condition     = google_kms_crypto_key_iam_member.storage_agent[0].member == "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    error_message = "The key's grant must go to Cloud Storage's service agent of this project."
  }
  assert {
    condition     = google_kms_crypto_key_iam_member.storage_agent[0].crypto_key_id == "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/data"
    error_message = "The grant must be on this key alone."
  }
}

run "each_bucket_expires_after_its_own_days" {
  command = plan

  variables {
    uploads_expire_days = 30
    results_expire_days = 400
  }

  assert {
    condition     = { for key, bucket in google_storage_bucket.main : key => [for rule in bucket.lifecycle_rule : one(rule.action).type] } == { uploads = ["AbortIncompleteMultipartUpload", "Delete"], results = ["AbortIncompleteMultipartUpload", "Delete"] }
    error_message = "Objects must be deleted by age in both buckets, and uploads that were never completed still dropped."
  }
  assert {
    condition     = one(google_storage_bucket.main["uploads"].lifecycle_rule[1].condition).age == 30
    error_message = "Uploads must be deleted after their days."
  }
  assert {
    condition     = one(google_storage_bucket.main["results"].lifecycle_rule[1].condition).age == 400
    error_message = "Artifacts must be deleted after their days."
  }
}

run "a_retention_time_holds_artifacts_and_no_uploads" {
  command = plan

  variables {
    results_retention   = { days = 365, locked = true }
    results_expire_days = 365
  }

  assert {
    condition     = tonumber(google_storage_bucket.main["results"].retention_policy[0].retention_period) == 31536000
    error_message = "Artifacts must be held for the given days."
  }
  assert {
    condition     = google_storage_bucket.main["results"].retention_policy[0].is_locked
    error_message = "The retention time must be locked if that was asked for."
  }
  assert {
    condition     = length(google_storage_bucket.main["uploads"].retention_policy) == 0
    error_message = "Uploads must stay deletable: a rejected one is deleted at once."
  }
}

run "a_retention_time_is_not_locked_by_default" {
  command = plan

  variables {
    results_retention = { days = 30 }
  }

  assert {
    condition     = google_storage_bucket.main["results"].retention_policy[0].is_locked == false
    error_message = "What cannot be undone must be asked for."
  }
}

run "soft_delete_logs_labels_and_the_guard_are_as_given" {
  command = plan

  variables {
    soft_delete_days  = 0
    access_log_bucket = "test-project-logs"
    force_destroy     = true
    labels            = { team = "speech" }
  }

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.soft_delete_policy[0].retention_duration_seconds == 0])
    error_message = "0 must turn soft delete off: without the block Google would keep objects for seven days."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.logging[0].log_bucket == "test-project-logs" && bucket.logging[0].log_object_prefix == bucket.name])
    error_message = "Usage logs of each bucket must go to the given one, under the bucket's name."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.force_destroy])
    error_message = "The guard must be off if that was asked for."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.main : bucket.labels == tomap({ team = "speech" })])
    error_message = "Both buckets must have the labels."
  }
}
