# Who may do what: every account, and every grant of a function, in one table. A grant stands on the one thing it is for.

locals {
  # What each function's code does, and nothing else. Of objects, a viewer looks and reads (and is told 404 of what is
  # missing, not 403), a creator writes what is not there yet, and a user does both and deletes. Who writes where
  # something may be already has to be a user: to others Cloud Storage does not say 412, that it is there, but 403.
  access = {
    # Signs uploads and looks at what a job names in the inbox, but can neither replace nor delete a recording. Reads
    # transcripts, writes edited ones, and removes one whose edit came too late.
    api = {
      topics  = ["events", "deliveries"]
      uploads = ["objectViewer", "objectCreator"], results = ["objectUser"], sources = ["objectViewer"], signs = true
    }
    # Reads an upload by a URL of its own, deletes one whose job is gone, and copies the results of the same recording.
    on_upload = {
      topics  = ["events"]
      uploads = ["objectUser"], results = ["objectUser"], sources = [], signs = true
    }
    # The same for a recording that is somewhere else, which it writes into the uploads bucket itself.
    fetch = {
      topics  = ["events"]
      uploads = ["objectUser"], results = ["objectUser"], sources = ["objectViewer"], signs = true
    }
    # Signs what GPU jobs read and write, writes what functions make, and deletes both with the job.
    orchestrate = {
      topics  = ["events"]
      uploads = ["objectUser"], results = ["objectUser"], sources = ["objectViewer"], signs = true
    }
    # Looks whether what a GPU job says it wrote is there.
    on_report = {
      topics  = ["events"]
      uploads = [], results = ["objectViewer"], sources = [], signs = false
    }
    # Asks for the next attempt of a delivery. It publishes no events and reads no object.
    notify = {
      topics  = ["deliveries"]
      uploads = [], results = [], sources = [], signs = false
    }
    # Does what the others should have done.
    sweep = {
      topics  = ["events", "deliveries"]
      uploads = ["objectUser"], results = ["objectUser"], sources = ["objectViewer"], signs = true
    }
  }
  # A function of this version that the table does not know fails here, by its name.
  granted = { for name in keys(local.contract.functions) : name => local.access[name] }

  # Addresses as Google forms them, so that a plan shows them; they still wait for the accounts.
  accounts = { for name, account in google_service_account.functions : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  callers  = { for name, account in google_service_account.callers : name => "${account.account_id}@${account.project}.iam.gserviceaccount.com" }
  members  = { for name, address in local.accounts : name => "serviceAccount:${address}" }

  buckets = { uploads = module.storage.uploads.name, results = module.storage.results.name }
  topics  = { events = module.events.events_topic.name, deliveries = module.events.deliveries_topic.name }

  # What checks its callers itself is open to anyone: on_report always, the API unless it is to be private.
  public_functions = toset([for name, row in local.contract.functions : name if row.trigger == "public_http" && (name != "api" || local.api_is_public)])

  # Who may call a private function beside Eventarc, and why.
  invokers = merge(
    { for name in distinct(values(local.contract.subscriptions)[*].function) : name => { pushes = "serviceAccount:${local.callers.pushes}" } },
    { sweep = { scheduler = "serviceAccount:${local.callers.scheduler}" } },
    length(var.api.callers) == 0 ? {} : { api = var.api.callers },
  )
}

# --- accounts: one a function, and one for each way in which private functions are called

resource "google_service_account" "functions" {
  for_each = local.granted

  project      = local.project_id
  account_id   = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  display_name = "Earwitness: runs ${each.key}"
}

resource "google_service_account" "callers" {
  for_each = {
    pushes    = "calls functions for Pub/Sub"
    scheduler = "calls sweep for Cloud Scheduler"
    uploads   = "calls on_upload for Eventarc"
  }

  project      = local.project_id
  account_id   = "${var.name_prefix}-${each.key}"
  display_name = "Earwitness: ${each.value}"
}

# --- grants of the functions

resource "google_storage_bucket_iam_member" "functions" {
  for_each = merge([
    for name, row in local.granted : merge([
      for bucket in ["uploads", "results"] : {
        for role in row[bucket] : "${name}/${bucket}/${role}" => { member = local.members[name], bucket = local.buckets[bucket], role = role }
      }
    ]...)
  ]...)

  bucket = each.value.bucket
  role   = "roles/storage.${each.value.role}"
  member = each.value.member
}

resource "google_storage_bucket_iam_member" "sources" {
  for_each = merge([
    for name, row in local.granted : merge([
      for bucket in distinct(flatten([for names in values(var.source_buckets) : tolist(names)])) : {
        for role in row.sources : "${name}/${bucket}/${role}" => { member = local.members[name], bucket = bucket, role = role }
      }
    ]...)
  ]...)

  bucket = each.value.bucket
  role   = "roles/storage.${each.value.role}"
  member = each.value.member
}

resource "google_pubsub_topic_iam_member" "functions" {
  for_each = merge([
    for name, row in local.granted : { for topic in row.topics : "${name}/${topic}" => { member = local.members[name], topic = local.topics[topic] } }
  ]...)

  project = local.project_id
  topic   = each.value.topic
  role    = "roles/pubsub.publisher"
  member  = each.value.member
}

# A key that stays with Google signs URLs: an account asks IAM to sign as itself, and as nobody else. No smaller predefined
# role has the permission.
resource "google_service_account_iam_member" "signs" {
  for_each = { for name, row in local.granted : name => local.members[name] if row.signs }

  service_account_id = "projects/${var.project.id}/serviceAccounts/${local.accounts[each.key]}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

# All functions read and write documents. Firestore has no grant below the project; the condition leaves the one database
# of this deployment.
resource "google_project_iam_member" "firestore" {
  for_each = local.members

  project = local.project_id
  role    = "roles/datastore.user"
  member  = each.value

  condition {
    title       = "${var.name_prefix}-database"
    description = "The database of this deployment alone."
    expression  = "resource.name == 'projects/${var.project.id}/databases/${module.status.database.name}'"
  }
}

# Receiving events is granted on a project alone; the account can receive those of its own trigger, and call on_upload.
resource "google_project_iam_member" "uploads_receives" {
  project = local.project_id
  role    = "roles/eventarc.eventReceiver"
  member  = "serviceAccount:${local.callers.uploads}"
}
