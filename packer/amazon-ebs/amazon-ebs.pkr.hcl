# An AMI in an account of AWS. Its user is no root: -var 'become=sudo -n'.

locals {
  builder = "amazon-ebs"
}

variable "access_key" {
  type        = string
  default     = env("AWS_ACCESS_KEY_ID")
  description = "By default the environment variable AWS_ACCESS_KEY_ID."
}

variable "secret_key" {
  type        = string
  default     = env("AWS_SECRET_ACCESS_KEY")
  sensitive   = true
  description = "By default the environment variable AWS_SECRET_ACCESS_KEY."
}

variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "Where the image is made."
}

variable "instance_type" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture."
}

variable "base_owner" {
  type        = string
  default     = "136693071363"
  description = "Whose image to start from: Debian."
}

variable "base_image" {
  type        = string
  default     = "debian-13"
  description = "The name of the image to start from, without architecture and date."
}

variable "ssh_username" {
  type        = string
  default     = "admin"
  description = "The user of the image to start from."
}

# Instance types as of November 2026.
source "amazon-ebs" "mailcow-ready" {
  access_key    = var.access_key
  secret_key    = var.secret_key
  region        = var.region
  instance_type = var.instance_type != "" ? var.instance_type : (var.architecture == "arm64" ? "t4g.medium" : "t3.medium")
  ssh_username  = var.ssh_username
  ami_name      = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
  source_ami_filter {
    owners      = [var.base_owner]
    most_recent = true
    filters = {
      name                = "${var.base_image}-${var.architecture == "arm64" ? "arm64" : "amd64"}-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 20
    volume_type           = "gp2"
    delete_on_termination = true
  }
}
