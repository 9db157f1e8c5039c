locals {
  deployed = merge(google_cloudfunctions2_function.public, google_cloudfunctions2_function.private)

  given_invokers = merge([for name, members in var.invokers : {
    for key, member in members : "${name}/${key}" => { function = name, member = member }
  }]...)
  upload_invokers = { for name, function in var.functions : "${name}/upload-events" => {
    function = name
    member   = "serviceAccount:${var.upload_events_service_account}"
  } if function.trigger == "finalize" }
}

# A function of the second generation is a service of Cloud Run under the same name, and that is where callers are checked.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = merge(local.given_invokers, local.upload_invokers)

  project  = var.project_id
  location = var.region
  name     = local.deployed[each.value.function].name
  role     = "roles/run.invoker"
  member   = each.value.member
}

resource "google_cloud_run_v2_service_iam_member" "anyone" {
  #checkov:skip=CKV_GCP_102:The API checks its callers' keys and on_report the token of an attempt; phones and GPU jobs have no Google identity.
  for_each = var.public_functions

  project  = var.project_id
  location = var.region
  name     = local.deployed[each.value].name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
