resource "terraform_data" "deploy" {
  count = var.deploy.enabled ? 1 : 0

  triggers_replace = {
    command     = var.deploy.command
    environment = var.deploy.environment
    triggers    = var.deploy.triggers
  }

  provisioner "local-exec" {
    command     = var.deploy.command
    environment = var.deploy.environment
  }
}
