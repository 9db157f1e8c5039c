# Who may do what. The expected grants stand here in full: a change of one is a change of this file.

provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project     = { id = "test-project", number = "123456789012" }
  region      = "europe-west1"
  bundles_dir = "tests/bundles"
  modal_token = { id = "ak-test", secret = "as-test" }
  report_keys = ["0123456789abcdef0123456789abcdef"]
}

run "accounts_have_only_the_grants_that_their_code_uses" {
  command = plan

  assert {
    condition = { for name, account in google_service_account.functions : name => account.account_id } == {
      api         = "earwitness-api"
      fetch       = "earwitness-fetch"
      notify      = "earwitness-notify"
      on_report   = "earwitness-on-report"
      on_upload   = "earwitness-on-upload"
      orchestrate = "earwitness-orchestrate"
      sweep       = "earwitness-sweep"
    }
    error_message = "Each function must have an account of its own."
  }
  assert {
    condition = tolist(keys(google_storage_bucket_iam_member.functions)) == tolist([
      "api/results/objectUser", "api/uploads/objectCreator", "api/uploads/objectViewer",
      "fetch/results/objectUser", "fetch/uploads/objectUser",
      "on_report/results/objectViewer",
      "on_upload/results/objectUser", "on_upload/uploads/objectUser",
      "orchestrate/results/objectUser", "orchestrate/uploads/objectUser",
      "sweep/results/objectUser", "sweep/uploads/objectUser",
    ])
    error_message = "Roles on the buckets must be exactly these."
  }
  assert {
    condition = alltrue([for key, grant in google_storage_bucket_iam_member.functions :
      "${grant.bucket}|${grant.role}|${grant.member}" == join("|", [
        "test-project-earwitness-${split("/", key)[1]}",
        "roles/storage.${split("/", key)[2]}",
        "serviceAccount:earwitness-${replace(split("/", key)[0], "_", "-")}@test-project.iam.gserviceaccount.com",
    ])])
    error_message = "A grant on a bucket must be what its key says."
  }
  assert {
    condition = tolist(keys(google_pubsub_topic_iam_member.functions)) == tolist([
      "api/deliveries", "api/events", "fetch/events", "notify/deliveries", "on_report/events", "on_upload/events",
      "orchestrate/events", "sweep/deliveries", "sweep/events",
    ])
    error_message = "Who publishes to which topic must be exactly this; notify publishes no events."
  }
  assert {
    condition = alltrue([for key, grant in google_pubsub_topic_iam_member.functions :
      "${grant.topic}|${grant.role}|${grant.member}" == join("|", [
        "earwitness-${split("/", key)[1]}",
        "roles/pubsub.publisher",
        "serviceAccount:earwitness-${replace(split("/", key)[0], "_", "-")}@test-project.iam.gserviceaccount.com",
    ])])
    error_message = "A grant on a topic must let its function publish, and no more."
  }
  assert {
    condition     = tolist(keys(google_service_account_iam_member.signs)) == tolist(["api", "fetch", "on_upload", "orchestrate", "sweep"])
    error_message = "Only functions that make signed URLs may sign."
  }
  assert {
    condition = alltrue([for grant in google_service_account_iam_member.signs :
      grant.role == "roles/iam.serviceAccountTokenCreator" && endswith(grant.service_account_id, "/serviceAccounts/${trimprefix(grant.member, "serviceAccount:")}")
    ])
    error_message = "An account may sign as itself alone."
  }
  # Who calls what is private.
  assert {
    condition = local.invokers == {
      fetch       = { pushes = "serviceAccount:earwitness-pushes@test-project.iam.gserviceaccount.com" }
      notify      = { pushes = "serviceAccount:earwitness-pushes@test-project.iam.gserviceaccount.com" }
      orchestrate = { pushes = "serviceAccount:earwitness-pushes@test-project.iam.gserviceaccount.com" }
      sweep       = { scheduler = "serviceAccount:earwitness-scheduler@test-project.iam.gserviceaccount.com" }
    }
    error_message = "Pushes call what takes events, the scheduler calls sweep."
  }
  assert {
    condition     = local.public_functions == toset(["api", "on_report"])
    error_message = "Only what checks its callers itself may be open to anyone."
  }
  assert {
    condition     = one(google_cloud_scheduler_job.sweep.http_target[0].oidc_token).service_account_email == "earwitness-scheduler@test-project.iam.gserviceaccount.com"
    error_message = "The scheduler must come with its identity."
  }
}

run "project_level_grants_are_firestore_by_condition_and_receiving_events" {
  command = plan

  assert {
    condition     = tolist(keys(google_project_iam_member.firestore)) == tolist(keys(local.contract.functions))
    error_message = "Every function works with the database."
  }
  assert {
    condition = alltrue([for grant in google_project_iam_member.firestore :
      grant.role == "roles/datastore.user" && one(grant.condition).expression == "resource.name == 'projects/test-project/databases/(default)'"
    ])
    error_message = "Firestore must be granted for one database alone."
  }
  assert {
    condition     = google_project_iam_member.uploads_receives.role == "roles/eventarc.eventReceiver" && google_project_iam_member.uploads_receives.member == "serviceAccount:earwitness-uploads@test-project.iam.gserviceaccount.com"
    error_message = "Only the account of uploads may receive events."
  }
}

run "platform_access_makes_the_api_private" {
  command = plan

  variables {
    api = { access = "platform", callers = { gateway = "serviceAccount:gateway@other.iam.gserviceaccount.com" } }
  }

  assert {
    condition     = local.public_functions == toset(["on_report"])
    error_message = "Where the API asks for no key, nobody but those named may call it."
  }
  assert {
    condition     = tomap(local.invokers.api) == tomap({ gateway = "serviceAccount:gateway@other.iam.gserviceaccount.com" })
    error_message = "Those who are named must be let through."
  }
  assert {
    condition     = local.settings["EARWITNESS_API_ACCESS"] == "platform"
    error_message = "The API must know that it is not asked for keys."
  }
}

run "a_tenants_own_buckets_can_be_read_and_no_more" {
  command = plan

  variables {
    source_buckets = { newsroom = ["archive"], radio = ["archive", "tapes"] }
  }

  assert {
    condition = tolist(keys(google_storage_bucket_iam_member.sources)) == tolist([
      "api/archive/objectViewer", "api/tapes/objectViewer", "fetch/archive/objectViewer", "fetch/tapes/objectViewer",
      "orchestrate/archive/objectViewer", "orchestrate/tapes/objectViewer", "sweep/archive/objectViewer", "sweep/tapes/objectViewer",
    ])
    error_message = "Who looks at a recording that is somewhere else must be exactly these."
  }
  assert {
    condition     = alltrue([for grant in google_storage_bucket_iam_member.sources : grant.role == "roles/storage.objectViewer"])
    error_message = "Others' recordings may only be read."
  }
  assert {
    condition     = local.settings["EARWITNESS_SOURCE_BUCKETS"] == "newsroom=archive,radio=archive,radio=tapes"
    error_message = "The functions must know whose buckets they are."
  }
}
